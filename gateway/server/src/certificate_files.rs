//! The certificate of the settings: its files are read again when they change, and on SIGHUP.
//!
//! Files that cannot be used are refused and logged, and the certificate that was read before goes on being presented.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use openssl::x509::X509;
use tokio::signal::unix::Signal;

use crate::certificate;
use crate::identity::{self, Certificate, Identity};
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

/// Reads the files again whenever they have changed, and on each `hangup`. `None`: there is no TLS listener; the signal
/// only must not end the process.
pub async fn watch(files: Option<CertificateFiles>, served: Arc<Served>, mut hangup: Signal) {
    let mut seen = files.as_ref().map(State::of);
    let mut ticks = tokio::time::interval(INTERVAL);
    loop {
        let asked = tokio::select! {
            _ = ticks.tick() => false,
            received = hangup.recv() => received.is_some(),
        };
        let Some(files) = &files else {
            if asked {
                tracing::info!("received SIGHUP: there is no TLS listener whose certificate could be read again");
            }
            continue;
        };
        let current = State::of(files);
        if asked || seen.as_ref() != Some(&current) {
            seen = Some(current);
            replace(files, &served);
        }
    }
}

fn replace(files: &CertificateFiles, served: &Served) {
    let certificate = files.certificate.display();
    match read(files) {
        Ok(read) => {
            tracing::info!(%certificate, expires_at = read.expires_at(), "read the certificate's files again");
            served.set_default(read);
        }
        Err(error) => {
            let error = &error as &dyn std::error::Error;
            tracing::error!(%certificate, error, "cannot use the certificate's new files; the old certificate stays");
        }
    }
}

/// What tells whether files have changed.
#[derive(PartialEq, Eq)]
struct State(Vec<Option<(u64, u64, i64, i64)>>);

impl State {
    fn of(files: &CertificateFiles) -> Self {
        let one = |path: &Path| {
            let metadata = fs::metadata(path).ok()?;
            Some((metadata.ino(), metadata.size(), metadata.mtime(), metadata.mtime_nsec()))
        };
        let paths = [Some(&files.certificate), Some(&files.key), files.passphrase.as_ref()];
        Self(paths.into_iter().flatten().map(|path| one(path)).collect())
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
        let served = Served::default();
        replace(&files, &served);
        let before = served.expiries();
        assert_eq!(before.len(), 1);
        let state = State::of(&files);
        fs::write(&files.certificate, "no certificate").expect("written");
        assert!(State::of(&files) != state);
        replace(&files, &served);
        assert_eq!(served.expiries(), before);
    }
}
