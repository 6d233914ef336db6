//! TLS as it is when the gateway starts: what the listeners present and accept, and the files that are read again.

use std::sync::Arc;

use arc_swap::ArcSwap;
use pingora_core::listeners::tls::TlsSettings;
use tollgate_admin::Acceptor;
#[cfg(pingora_patched)]
use tollgate_core::clock::SystemClock;

use crate::certificate_files::{self, Watched};
use crate::served::Served;
#[cfg(pingora_patched)]
use crate::session_tickets::SessionTickets;
use crate::settings::Settings;
use crate::{admin_tls, certificate, tls};

/// Why TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The certificate's files cannot be made or read.
    #[error("proxy.https_listen: no usable certificate")]
    Certificate(#[from] certificate::Error),
    /// They cannot be used.
    #[error("proxy.https_listen: no usable certificate")]
    Files(#[from] certificate_files::Error),
    /// The proxy's listener.
    #[error("proxy.https_listen: cannot set up TLS")]
    Proxy(#[from] tls::Error),
    /// The Admin API's listener.
    #[error("admin.listen: cannot set up TLS")]
    Admin(#[from] admin_tls::Error),
}

/// TLS of all listeners.
#[derive(Default)]
pub struct Tls {
    /// The certificates that the proxy presents.
    pub served: Arc<Served>,
    /// The keys of its session tickets.
    #[cfg(pingora_patched)]
    pub tickets: Option<Arc<SessionTickets>>,
    /// What accepts connections of the Admin API; `None`: it is plain HTTP.
    pub admin: Option<Acceptor>,
}

/// Sets TLS up; also returns the settings of the proxy's listener, if it has one, and the files that are to be watched.
///
/// # Errors
/// A file is unusable.
pub fn set_up(settings: &Settings) -> Result<(Tls, Option<TlsSettings>, Vec<Watched>), Error> {
    let (mut all, mut watched) = (Tls::default(), Vec::new());
    let proxy = match settings.proxy.https_listen {
        Some(_) => Some(set_up_proxy(settings, &mut all, &mut watched)?),
        None => None,
    };
    if let Some(tls) = &settings.admin.tls {
        let acceptor = Arc::new(ArcSwap::from_pointee(admin_tls::acceptor(tls, &settings.tls)?));
        all.admin = Some(Arc::clone(&acceptor));
        let paths = tls.files.paths().into_iter().chain(tls.client_ca.clone()).collect();
        let (tls, policy) = (tls.clone(), settings.tls.clone());
        let read = move || admin_tls::acceptor(&tls, &policy).map(|read| acceptor.store(Arc::new(read)));
        watched.push(Watched::new("admin.tls", paths, read)?);
    }
    Ok((all, proxy, watched))
}

fn set_up_proxy(settings: &Settings, all: &mut Tls, watched: &mut Vec<Watched>) -> Result<TlsSettings, Error> {
    let files = certificate::files(settings.certificate.as_ref(), &settings.data_directory)?;
    watched.push(certificate_files::of_certificate("tls.certificate", &files, Arc::clone(&all.served))?);
    let clients = Arc::new(tls::ClientAuthorities::new(&settings.client_certificates).map_err(tls::Error::from)?);
    #[cfg_attr(not(pingora_patched), expect(unused_mut, reason = "Pingora as published makes the keys of tickets"))]
    let mut of_listener = tls::settings(Arc::clone(&all.served), Arc::clone(&clients), &settings.tls)?;
    #[cfg(pingora_patched)]
    if let Some(rotation) = settings.tls.ticket_rotation.filter(|_| clients.file().is_none()) {
        let tickets = Arc::new(SessionTickets::new(rotation, Arc::new(SystemClock)));
        of_listener.set_ticket_keys(Arc::clone(&tickets) as _).map_err(tls::Error::Acceptor)?;
        all.tickets = Some(tickets);
    }
    if let Some(path) = clients.file() {
        let paths = vec![path.to_owned()];
        watched.push(Watched::new("tls.client_ca", paths, move || clients.read()).map_err(tls::Error::from)?);
    }
    Ok(of_listener)
}
