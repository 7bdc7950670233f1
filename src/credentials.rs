//! Client id and secret, redacted. The secret leaves this file as a [`Secret`].

use std::env;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;

use tokio::sync::Mutex;

use crate::error::{BoxError, Error};
use crate::secret::Secret;

const ID: &str = "NEONOMICS_CLIENT_ID";
const SECRET: &str = "NEONOMICS_CLIENT_SECRET";
/// Of a file, in bytes: what is longer is no secret, and a device has no end.
const LONGEST_SECRET: usize = 64 * 1024;
const SECRET_FILE: &str = "NEONOMICS_CLIENT_SECRET_FILE";

/// Client id and secret of RFC 6749 §2.3.1. `Debug` shows the id only.
///
/// The secret is wiped from memory when its last clone goes. What it was built from is the caller's: a `String` is
/// taken over, a `&str` is copied.
///
/// # Clone
///
/// Clones share the source of the secret.
///
/// # Examples
///
/// ```
/// use neonomics_auth::Credentials;
///
/// let fixed = Credentials::new("id", "secret");
/// assert_eq!(format!("{fixed:?}"), r#"Credentials { id: "id", secret: [redacted] }"#);
///
/// # async fn ask_the_vault() -> Result<String, std::io::Error> { Ok("secret".to_owned()) }
/// let rotated = Credentials::from_fn("id", || async { ask_the_vault().await });
/// # let _ = rotated;
/// ```
#[derive(Clone)]
pub struct Credentials {
    id: Arc<str>,
    source: Source,
}

#[derive(Clone)]
enum Source {
    Fixed(Secret),
    File(Arc<SecretFile>),
    Closure(Arc<dyn Fn() -> SecretFuture + Send + Sync>),
}

struct SecretFile {
    path: PathBuf,
    /// A read that hangs (a dead mount) cannot be ended: no other one hangs beside it, each with a thread of its own.
    reading: Arc<Mutex<()>>,
}

type SecretFuture = Pin<Box<dyn Future<Output = Result<String, BoxError>> + Send>>;

impl Credentials {
    /// An id and a secret that do not change. Empty ones are refused by [`TokenProvider`](crate::TokenProvider).
    pub fn new(id: impl Into<String>, secret: impl Into<String>) -> Self {
        Self { id: id.into().into(), source: Source::Fixed(Secret::from(secret.into())) }
    }

    /// `NEONOMICS_CLIENT_ID`, and `NEONOMICS_CLIENT_SECRET` or `NEONOMICS_CLIENT_SECRET_FILE`.
    ///
    /// The file is read at every exchange and for the logout, so that a mounted secret may change; one line break at its
    /// end is cut. The variables are taken as they are. A file that hangs costs the renewal its deadline, and holds one
    /// thread for blocking work, with which the runtime waits when it is dropped.
    ///
    /// # Errors
    ///
    /// Fails when a variable is missing, empty or not Unicode, or when both secrets are set. The file itself is read
    /// later.
    pub fn from_env() -> Result<Self, Error> {
        let id = variable(ID)?.ok_or_else(|| Error::configuration(format!("{ID} is not set")))?;
        let source = match (variable(SECRET)?, variable(SECRET_FILE)?) {
            (Some(secret), None) => Source::Fixed(Secret::from(secret)),
            (None, Some(path)) => Source::File(Arc::new(SecretFile { path: path.into(), reading: Arc::default() })),
            (None, None) => {
                return Err(Error::configuration(format!("neither {SECRET} nor {SECRET_FILE} is set")));
            }
            (Some(_), Some(_)) => {
                return Err(Error::configuration(format!("both {SECRET} and {SECRET_FILE} are set: keep one")));
            }
        };
        Ok(Self { id: id.into(), source })
    }

    /// The id is fixed; the secret is asked for at every exchange (a vault, a rotated file).
    ///
    /// The secret is sent exactly as it comes: a line break at the end of a file is the closure's to cut. The closure
    /// runs on the renewal's task, within its deadline, and for the logout; after a rejection it is asked once more. It must
    /// not block the thread, which no deadline can end, and it must not need a token of this provider: it would wait for
    /// itself until the deadline. An empty secret counts as a failure. Its failure is a transient error whose [`source`](std::error::Error::source) is the closure's
    /// own error.
    pub fn from_fn<F, Fut, T, E>(id: impl Into<String>, secret: F) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<T, E>> + Send + 'static,
        T: Into<String>,
        E: Into<BoxError>,
    {
        let closure = move || -> SecretFuture {
            let secret = secret();
            Box::pin(async move { secret.await.map(Into::into).map_err(Into::into) })
        };
        Self { id: id.into().into(), source: Source::Closure(Arc::new(closure)) }
    }

    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// What can be known to be wrong before anything is asked.
    pub(crate) fn validate(&self) -> Result<(), Error> {
        match &self.source {
            _ if self.id.is_empty() => Err(Error::configuration("the client id is empty")),
            Source::Fixed(secret) if secret.is_empty() => Err(Error::configuration("the client secret is empty")),
            _ => Ok(()),
        }
    }

    /// Whether asking again can bring another secret.
    pub(crate) fn may_change(&self) -> bool {
        !matches!(self.source, Source::Fixed(_))
    }

    pub(crate) async fn secret(&self) -> Result<Secret, Error> {
        let secret = match &self.source {
            Source::Fixed(secret) => return Ok(secret.clone()),
            Source::File(file) => {
                let reading = Arc::clone(&file.reading).lock_owned().await;
                let file = Arc::clone(file);
                let read = move || {
                    let _reading = reading;
                    read(&file.path)
                };
                match tokio::task::spawn_blocking(read).await {
                    Ok(read) => read.map_err(Error::credentials)?,
                    Err(lost) => return Err(Error::credentials(lost)),
                }
            }
            Source::Closure(secret) => secret().await.map(Secret::from).map_err(Error::credentials)?,
        };
        if secret.is_empty() { Err(Error::credentials("the client secret is empty")) } else { Ok(secret) }
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let secret = match &self.source {
            Source::Fixed(_) => "[redacted]",
            Source::File(_) => "[a file]",
            Source::Closure(_) => "[a closure]",
        };
        f.debug_struct("Credentials").field("id", &self.id).field("secret", &format_args!("{secret}")).finish()
    }
}

fn variable(name: &str) -> Result<Option<String>, Error> {
    match env::var(name) {
        Ok(value) if value.is_empty() => Err(Error::configuration(format!("{name} is empty"))),
        Ok(value) => Ok(Some(value)),
        Err(env::VarError::NotPresent) => Ok(None),
        // The error would quote the value.
        Err(env::VarError::NotUnicode(_)) => Err(Error::configuration(format!("{name} is not Unicode"))),
    }
}

fn read(path: &Path) -> io::Result<Secret> {
    // Not the path: somebody may have put the secret itself there.
    let unread = |error: io::Error| io::Error::new(error.kind(), format!("{SECRET_FILE}: {error}"));
    let mut text = String::with_capacity(LONGEST_SECRET + 1);
    File::open(path).and_then(|file| file.take(LONGEST_SECRET as u64 + 1).read_to_string(&mut text)).map_err(unread)?;
    if text.len() > LONGEST_SECRET {
        return Err(unread(io::Error::new(io::ErrorKind::InvalidData, "longer than 64 KiB")));
    }
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    Ok(Secret::from(text))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::process::Command;

    use futures::poll;
    use tokio::runtime::Builder;
    use tokio::task::spawn_blocking;

    use super::*;

    #[test]
    fn a13_a_secret_file_that_hangs_takes_one_thread_however_often_it_is_asked_for() {
        let path = env::temp_dir().join(format!("neonomics-auth-{}", std::process::id()));
        // A pipe is read for ever, until somebody writes to it.
        assert!(Command::new("mkfifo").arg(&path).status().expect("a command of coreutils").success());
        let file = SecretFile { path: path.clone(), reading: Arc::default() };
        let credentials = Credentials { id: "id".into(), source: Source::File(Arc::new(file)) };

        let runtime = Builder::new_current_thread().max_blocking_threads(2).build().expect("a runtime");
        runtime.block_on(async {
            let [mut first, mut second, mut third] = [(); 3].map(|()| Box::pin(credentials.secret()));
            assert!(poll!(&mut first).is_pending());
            assert!(poll!(&mut second).is_pending());
            assert!(poll!(&mut third).is_pending());
            // The other thread is free.
            spawn_blocking(|| ()).await.expect("it runs");
            // Who gives up changes nothing for the others.
            drop(second);
            spawn_blocking(move || fs::write(&path, "a secret\n").and_then(|()| fs::remove_file(&path)))
                .await
                .expect("it runs")
                .expect("it is read");
            assert_eq!(first.await.expect("it was written").expose(), "a secret");
            let error = third.await.expect_err("the pipe is gone");
            let source = std::error::Error::source(&error).expect("what the system said").to_string();
            assert!(source.starts_with("NEONOMICS_CLIENT_SECRET_FILE: "), "{source}");
        });
    }
}
