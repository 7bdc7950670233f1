//! One entry of the table: what Keycloak says, what the fake says, where, and why.

use super::Theme;
use super::aspects::Aspect;

#[derive(Debug)]
pub(super) struct Difference {
    /// Each of them meets it.
    themes: &'static [Theme],
    versions: Versions,
    /// Names of steps; `*` at the end stands for any rest.
    steps: &'static [&'static str],
    aspect: Aspect,
    /// One of these.
    keycloak: &'static [&'static str],
    fake: &'static str,
    /// Where it comes from: FACTS.md, the vendor's documentation, or what was seen here.
    reason: &'static str,
    needed: bool,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Versions {
    All,
    /// This one and all before it.
    Until(&'static str),
    /// This one and all after it.
    Since(&'static str),
    Only(&'static str),
}

pub(super) const fn difference(
    themes: &'static [Theme],
    versions: Versions,
    steps: &'static [&'static str],
    aspect: Aspect,
    keycloak: &'static [&'static str],
    fake: &'static str,
    reason: &'static str,
) -> Difference {
    Difference { themes, versions, steps, aspect, keycloak, fake, reason, needed: true }
}

impl Difference {
    /// A race decides whether it is met.
    pub(super) const fn sometimes(self) -> Self {
        Self { needed: false, ..self }
    }

    pub(super) fn is_needed(&self, theme: Theme, version: &str) -> bool {
        self.needed && self.may_be_met(theme, version)
    }

    pub(super) fn may_be_met(&self, theme: Theme, version: &str) -> bool {
        self.themes.contains(&theme)
            && match self.versions {
                Versions::All => true,
                Versions::Until(last) => numbers(version) <= numbers(last),
                Versions::Since(first) => numbers(version) >= numbers(first),
                Versions::Only(only) => version == only,
            }
    }

    pub(super) fn covers(&self, step: &str, aspect: Aspect, keycloak: &str, fake: &str) -> bool {
        let named =
            |pattern: &&str| pattern.strip_suffix('*').map_or(step == *pattern, |start| step.starts_with(start));
        self.aspect == aspect && self.fake == fake && self.keycloak.contains(&keycloak) && self.steps.iter().any(named)
    }

    pub(super) fn describe(&self) -> String {
        let Self { steps, aspect, keycloak, fake, reason, .. } = self;
        format!("{steps:?}, {aspect:?}: Keycloak {keycloak:?}, the fake {fake:?}: {reason}")
    }
}

fn numbers(version: &str) -> Vec<u32> {
    version.split('.').map(|number| number.parse().expect("a version is numbers")).collect()
}
