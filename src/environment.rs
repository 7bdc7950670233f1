//! Where the authorization server and the API are.

use http::Uri;
#[cfg(feature = "reqwest")]
use http::uri::Scheme;

use crate::error::Error;
use crate::origin::{self, Origins};

/// Where the authorization server and the API are.
///
/// # Examples
///
/// ```
/// use neonomics_auth::Environment;
///
/// # fn main() -> Result<(), neonomics_auth::Error> {
/// let sandbox = Environment::sandbox();
/// let production = Environment::production("name-given-by-neonomics")?;
/// let own = Environment::realm("http://127.0.0.1:8180/auth/realms/sandbox", "http://127.0.0.1:3000")?;
/// assert!(Environment::realm("http://example.com/realms/sandbox", "https://example.com").is_err());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Environment {
    token_endpoint: Uri,
    logout_endpoint: Uri,
    realm: String,
    origins: Origins,
}

impl Environment {
    /// The documented sandbox: API and realm `sandbox` at `https://sandbox.neonomics.io`
    /// (<https://docs.neonomics.io/docs/authentication>).
    ///
    /// # Panics
    ///
    /// Never: both URLs are constants.
    #[must_use]
    pub fn sandbox() -> Self {
        Self::realm("https://sandbox.neonomics.io/auth/realms/sandbox", "https://sandbox.neonomics.io")
            .expect("the documented URLs are valid")
    }

    /// Production: the API at `https://api.neonomics.io`, and the realm whose name Neonomics gave you.
    ///
    /// # Errors
    ///
    /// Fails when `realm` is empty or contains a character of a path or an authority (`/ ? # @ :`).
    pub fn production(realm: impl AsRef<str>) -> Result<Self, Error> {
        let realm = realm.as_ref();
        if realm.contains(['/', '?', '#', '@', ':']) {
            return Err(Error::configuration("the realm's name must be one path segment"));
        }
        Self::realm(format!("https://api.neonomics.io/auth/realms/{realm}"), "https://api.neonomics.io")
    }

    /// Any Keycloak realm (`…/realms/NAME`) and the API that takes its tokens.
    ///
    /// # Errors
    ///
    /// Fails when a URL has no host, has user-info, a query or a fragment, or uses http beyond loopback (127.0.0.0/8,
    /// `[::1]`, `localhost`); when the realm URL does not end in `/realms/NAME`, and when the origin has a path.
    pub fn realm(realm_url: impl AsRef<str>, api_origin: impl AsRef<str>) -> Result<Self, Error> {
        let realm_url = realm_url.as_ref();
        let realm_url = realm_url.strip_suffix('/').unwrap_or(realm_url);
        let uri = origin::absolute_uri(realm_url, "the realm URL")?;
        if uri.query().is_some() {
            return Err(Error::configuration("the realm URL must not have a query"));
        }
        let realm = match uri.path().rsplit_once("/realms/") {
            Some((_, name)) if is_segment(name) => name.to_owned(),
            _ => return Err(Error::configuration("the realm URL must end in /realms/NAME")),
        };
        let endpoint = |name: &str| {
            Uri::try_from(format!("{realm_url}/protocol/openid-connect/{name}"))
                .map_err(|_| Error::configuration("the realm URL is too long"))
        };
        Ok(Self {
            token_endpoint: endpoint("token")?,
            logout_endpoint: endpoint("logout")?,
            realm,
            origins: Origins::new(api_origin.as_ref())?,
        })
    }

    /// One more API origin that may receive the token. There is no way to allow all.
    ///
    /// # Errors
    ///
    /// Fails like the origin of [`Environment::realm`].
    pub fn allow_origin(mut self, url: impl AsRef<str>) -> Result<Self, Error> {
        self.origins.allow(url.as_ref())?;
        Ok(self)
    }

    pub(crate) fn token_endpoint(&self) -> &Uri {
        &self.token_endpoint
    }

    pub(crate) fn logout_endpoint(&self) -> &Uri {
        &self.logout_endpoint
    }

    pub(crate) fn realm_name(&self) -> &str {
        &self.realm
    }

    pub(crate) fn origins(&self) -> &Origins {
        &self.origins
    }

    /// Whether the authorization server is on loopback: then no TLS is asked for and no proxy is used.
    #[cfg(feature = "reqwest")]
    pub(crate) fn is_loopback(&self) -> bool {
        self.token_endpoint.host().is_some_and(origin::is_loopback)
    }

    /// Whether the authorization server is reached without TLS; on loopback only.
    #[cfg(feature = "reqwest")]
    pub(crate) fn is_plain(&self) -> bool {
        self.token_endpoint.scheme() == Some(&Scheme::HTTP)
    }
}

/// Whether a name stays one segment where a client normalises the URL ("..", also as `%2e%2e`, and `\`).
fn is_segment(name: &str) -> bool {
    let plain = name.to_ascii_lowercase().replace("%2e", ".");
    !name.contains(['/', '\\']) && !matches!(plain.as_str(), "" | "." | "..")
}
