//! `tollgate_certificate_expiry_timestamp_seconds`: when the certificates expire that the TLS listeners present, read
//! from what is presented now, by the proxy and by the Admin API.

use std::sync::Arc;

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{GaugeVec, Opts};
use tollgate_admin::Acceptor;

use crate::identity::unix_seconds;
use crate::served::Served;

/// The metric. Its names are bounded: [`Served::expiries`].
pub struct CertificateExpiry {
    served: Arc<Served>,
    admin: Option<Acceptor>,
    description: Vec<Desc>,
}

impl CertificateExpiry {
    /// The expiry of these certificates, and of the Admin API's if it has one.
    ///
    /// # Errors
    /// The metric is not valid.
    pub fn new(served: Arc<Served>, admin: Option<Acceptor>) -> prometheus::Result<Self> {
        let description = gauge()?.desc().into_iter().cloned().collect();
        Ok(Self { served, admin, description })
    }
}

fn gauge() -> prometheus::Result<GaugeVec> {
    let help = "When certificates of the TLS listeners expire, by their first server name; `default` is that of the settings, `admin.tls.certificate` the Admin API's. At most 1000, those that expire first.";
    GaugeVec::new(Opts::new("tollgate_certificate_expiry_timestamp_seconds", help), &["name"])
}

impl Collector for CertificateExpiry {
    fn desc(&self) -> Vec<&Desc> {
        self.description.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let Ok(gauge) = gauge() else { return Vec::new() };
        let admin = self.admin.as_ref().and_then(|acceptor| {
            let presented = acceptor.load();
            let expires_at = unix_seconds(presented.context().certificate()?.not_after()).ok()?;
            Some(("admin.tls.certificate".to_owned(), expires_at))
        });
        for (name, expires_at) in self.served.expiries().into_iter().chain(admin) {
            #[expect(clippy::cast_precision_loss, reason = "seconds since 1970 are exact for millions of years")]
            gauge.with_label_values(&[name.as_str()]).set(expires_at as f64);
        }
        gauge.collect()
    }
}
