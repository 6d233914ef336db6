//! Upstreams and their targets, as last read by this node. What requests use are the [`Balancers`], which outlive
//! every reading, with what is known about the health of targets.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use openssl::sha::sha256;
use pingora_core::utils::tls::CertKey;
use tollgate_core::collection::Document;
use uuid::Uuid;

use super::certificates::Certificates;
use super::mirror::{put, read};
use crate::upstream::balancing::{Balancers, TargetSpec, Terms, UpstreamSpec};
use crate::upstream::trust::Reference;

/// The entities, and which of them have changed.
#[derive(Default)]
pub(super) struct Upstreams {
    upstreams: BTreeMap<Uuid, UpstreamSpec>,
    targets: BTreeMap<Uuid, TargetSpec>,
    changed: BTreeSet<Uuid>,
    /// Whether all are new: what was known before is gone.
    all_changed: bool,
}

impl Upstreams {
    /// Updates an upstream; `None`: it was deleted.
    pub(super) fn set(&mut self, id: Uuid, document: Option<&Document>) {
        put(&mut self.upstreams, id, document.and_then(|document| read("upstreams", document)));
        self.changed.insert(id);
    }

    /// Updates a target; `None`: it was deleted.
    pub(super) fn set_target(&mut self, id: Uuid, document: Option<&Document>) {
        let target: Option<TargetSpec> = document.and_then(|document| read("targets", document));
        let old = self.targets.get(&id).map(|target| target.upstream.id);
        self.changed.extend(old.into_iter().chain(target.as_ref().map(|target| target.upstream.id)));
        put(&mut self.targets, id, target);
    }

    /// Everything is new.
    pub(super) fn set_all_changed(&mut self) {
        self.all_changed = true;
    }

    /// Applies the changes, those of certificates included. Returns the names, in lower case, that are an upstream's
    /// now and were none before, or the other way round.
    pub(super) fn renew(
        &mut self,
        balancers: &Balancers,
        certificates: &Certificates,
        trust: &BTreeSet<Uuid>,
    ) -> BTreeSet<String> {
        let presents =
            |spec: &UpstreamSpec| spec.client_certificate.is_some_and(|Reference { id }| trust.contains(&id));
        let presenting = self.upstreams.values().filter(|spec| presents(spec)).map(|spec| spec.id);
        let mut changed: BTreeSet<Uuid> = presenting.chain(std::mem::take(&mut self.changed)).collect();
        if std::mem::take(&mut self.all_changed) {
            changed.extend(balancers.all().iter().map(|balancer| balancer.id));
        }
        let mut names = BTreeSet::new();
        for id in &changed {
            let before = balancers.get(*id).map(|balancer| balancer.name().to_ascii_lowercase());
            let after = self.upstreams.get(id).map(|spec| spec.name.to_ascii_lowercase());
            if before != after {
                names.extend(before.into_iter().chain(after));
            }
            if let Some(spec) = self.upstreams.get(id) {
                let targets = self.targets.values().filter(|target| target.upstream.id == *id);
                balancers.set(spec.clone(), terms(spec, certificates), targets.cloned().collect());
            } else {
                balancers.hide(*id);
            }
        }
        names
    }

    /// Ends those that were deleted.
    pub(super) fn end(&self, balancers: &Balancers) {
        balancers.retain(&self.upstreams.keys().copied().collect());
    }
}

fn terms(spec: &UpstreamSpec, certificates: &Certificates) -> Terms {
    let Some(Reference { id }) = spec.client_certificate else { return Terms::Plain };
    let Some(certificate) = certificates.certificate(id) else {
        tracing::error!(upstream = %spec.id, certificate = %id, "invalid client certificate of an upstream; requests to it over TLS are refused");
        return Terms::Unusable;
    };
    let client = certificate.primary();
    let chain: Vec<u8> = client.chain().iter().flat_map(|one| one.to_der().unwrap_or_default()).collect();
    let [a, b, c, d, e, f, g, h, ..] = sha256(&chain);
    let key = Arc::new(CertKey::new(client.chain(), client.key().clone()));
    Terms::Certificate(key, u64::from_be_bytes([a, b, c, d, e, f, g, h]))
}
