//! The files of certificates and authorities that settings name: they are read again when they change, and on request.
//!
//! Files that cannot be used are refused and logged, and what was read before stays in force.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use openssl::x509::X509;

use crate::certificate;
use crate::check::with_causes;
use crate::identity::{self, Certificate, Identity};
use crate::read_again::Requests;
use crate::served::Served;
use crate::settings::CertificateFiles;

/// How often it is looked whether files have changed.
const INTERVAL: Duration = Duration::from_secs(1);

/// Why the files cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file is unusable.
    #[error(transparent)]
    File(#[from] certificate::Error),
    /// The certificate cannot be presented.
    #[error("{path}: {source}")]
    Identity {
        /// The certificate's file.
        path: String,
        /// The cause.
        source: identity::Error,
    },
}

/// Reads the files.
///
/// # Errors
/// They are unusable.
pub fn read(files: &CertificateFiles) -> Result<Certificate, Error> {
    certificate::check(files)?;
    let shown = || files.certificate.display().to_string();
    let unusable = |source| Error::Identity { path: shown(), source };
    let key = certificate::private_key(files)?;
    let text = fs::read(&files.certificate)
        .map_err(|source| certificate::Error::File { path: files.certificate.clone(), source })?;
    let chain = X509::stack_from_pem(&text).map_err(|error| unusable(error.into()))?;
    Identity::new(chain, key).and_then(|identity| Certificate::new(identity, None)).map_err(unusable)
}

/// The files of the certificate that is presented by default.
///
/// # Errors
/// They cannot be used.
pub fn of_certificate(setting: &'static str, files: &CertificateFiles, served: Arc<Served>) -> Result<Watched, Error> {
    let read_again = {
        let files = files.clone();
        move || read(&files).map(|read| served.set_default(read))
    };
    Watched::new(setting, files.paths(), read_again)
}

/// Files that are read again.
pub struct Watched {
    /// The setting that names them.
    setting: &'static str,
    paths: Vec<PathBuf>,
    seen: State,
    read_again: Box<dyn Fn() -> Result<(), Unusable> + Send + Sync>,
}

type Unusable = Box<dyn std::error::Error + Send + Sync>;

impl Watched {
    /// Reads the files for the first time.
    ///
    /// # Errors
    /// They cannot be used.
    pub fn new<E: std::error::Error + Send + Sync + 'static>(
        setting: &'static str,
        paths: Vec<PathBuf>,
        read: impl Fn() -> Result<(), E> + Send + Sync + 'static,
    ) -> Result<Self, E> {
        // Before they are read: what changes meanwhile is read again.
        let seen = State::of(&paths);
        read()?;
        let read_again = Box::new(move || read().map_err(Into::into));
        Ok(Self { setting, seen, paths, read_again })
    }

    /// Reads the files if they have changed, or if it is asked; what is wrong with them.
    fn look(&mut self, is_asked: bool) -> Option<String> {
        let current = State::of(&self.paths);
        if !is_asked && self.seen == current {
            return None;
        }
        self.seen = current;
        let shown: Vec<_> = self.paths.iter().map(|path| path.display().to_string()).collect();
        let (setting, paths) = (self.setting, shown.join(" "));
        match (self.read_again)() {
            Ok(()) => {
                tracing::info!(setting, paths, "read the files again");
                None
            }
            Err(error) => {
                let error = &*error as &dyn std::error::Error;
                let fault = format!("{setting}: {}", with_causes(error));
                tracing::error!(setting, paths, error, "cannot use the new files; what was read before stays in force");
                Some(fault)
            }
        }
    }
}

/// Reads files again whenever they have changed, and all of them on request.
pub async fn watch(mut files: Vec<Watched>, mut requests: Requests) {
    let mut ticks = tokio::time::interval(INTERVAL);
    loop {
        let reply = tokio::select! {
            _ = ticks.tick() => None,
            Some(reply) = requests.recv() => Some(reply),
        };
        let faults = files.iter_mut().filter_map(|watched| watched.look(reply.is_some())).collect();
        if let Some(reply) = reply {
            let _not_waited_for = reply.send(faults);
        }
    }
}

/// What tells whether files have changed.
#[derive(PartialEq, Eq)]
struct State(Vec<Option<(u64, u64, i64, i64)>>);

impl State {
    fn of(paths: &[PathBuf]) -> Self {
        let one = |path: &PathBuf| {
            let metadata = fs::metadata(path).ok()?;
            Some((metadata.ino(), metadata.size(), metadata.mtime(), metadata.mtime_nsec()))
        };
        Self(paths.iter().map(one).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kept_certificate_is_presented_and_a_key_is_none() {
        let directory = tempfile::tempdir().expect("a directory");
        let mut files = certificate::files(None, directory.path()).expect("made");
        assert!(read(&files).is_ok());
        files.certificate = files.key.clone();
        assert!(matches!(read(&files), Err(Error::File(_))));
    }

    #[test]
    fn files_that_cannot_be_used_leave_the_old_certificate() {
        let directory = tempfile::tempdir().expect("a directory");
        let files = certificate::files(None, directory.path()).expect("made");
        let served = Arc::new(Served::default());
        let mut watched = of_certificate("tls.certificate", &files, Arc::clone(&served)).expect("usable");
        let before = served.expiries();
        assert_eq!(before.len(), 1);
        let state = State::of(&watched.paths);
        fs::write(&files.certificate, "no certificate").expect("written");
        assert!(State::of(&watched.paths) != state);
        assert!(watched.look(false).is_some_and(|fault| fault.starts_with("tls.certificate: ")));
        assert!(watched.seen == State::of(&watched.paths));
        assert_eq!(served.expiries(), before);
    }
}
