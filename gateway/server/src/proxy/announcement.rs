//! The PROXY header towards upstreams (`proxy.upstream_proxy_protocol`): whose request a connection carries.
//!
//! The header is of the connection, so a connection is used for requests of one client connection only.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::net::SocketAddr;
use std::sync::Arc;

use pingora_core::upstreams::peer::HttpPeer;
use pingora_proxy::Session;

use super::client::Origin;
use crate::proxy_protocol::{self, Version};
use crate::upstream::announcement::{Announced, Announcements};
use crate::upstream::service::ServiceEntry;

/// Makes connections to this peer begin with a header, if the service is to be told.
pub(super) fn announce(
    announcements: &Announcements,
    peer: &mut HttpPeer,
    service: &ServiceEntry,
    origin: Option<Origin>,
    session: &Session,
) {
    let Some(version) = announcements.version_for(service.id, &service.label) else { return };
    let client = session.client_addr().and_then(|address| address.as_inet());
    let accepted = session.server_addr().and_then(|address| address.as_inet());
    let (Some(origin), Some(client), Some(accepted)) = (origin, client, accepted) else { return };
    // Behind a trusted proxy, the port is that of the proxy's connection.
    let port = if origin.client.address == origin.peer.to_canonical() { client.port() } else { 0 };
    let source = SocketAddr::new(origin.client.address, port);
    let mut hasher = DefaultHasher::new();
    (peer.group_key, client, source, accepted, version == Version::V1).hash(&mut hasher);
    peer.group_key = hasher.finish();
    let header = proxy_protocol::write(version, source, *accepted);
    peer.options.custom_l4 = Some(Arc::new(Announced { header, timeout: peer.options.connection_timeout }));
}
