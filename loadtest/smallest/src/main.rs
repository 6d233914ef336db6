//! The smallest possible Pingora proxy: the cost of the framework before a gateway adds anything.
//!
//!     smallest-pingora LISTEN UPSTREAM
//!
//! Built twice: here with published Pingora, and by the benchmark with our changes to it.
//!
//! Both arguments are addresses such as `127.0.0.1:8000`. One thread, Tollgate's allocator and runtime, one fixed
//! upstream, no module, no filter, no log.

use std::net::SocketAddr;
use std::process::ExitCode;

use async_trait::async_trait;
use pingora_core::modules::http::HttpModules;
use pingora_core::server::configuration::ServerConf;
use pingora_core::server::{RunArgs, Server};
use pingora_core::upstreams::peer::HttpPeer;
use pingora_proxy::{ProxyHttp, Session, http_proxy_service};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

struct Smallest {
    peer: HttpPeer,
}

#[async_trait]
impl ProxyHttp for Smallest {
    type CTX = ();

    fn new_ctx(&self) {}

    /// No modules: the default one is compression, which is off.
    fn init_downstream_modules(&self, _modules: &mut HttpModules) {}

    async fn upstream_peer(&self, _session: &mut Session, _context: &mut ()) -> pingora_core::Result<Box<HttpPeer>> {
        Ok(Box::new(self.peer.clone()))
    }
}

fn main() -> ExitCode {
    let addresses: Vec<SocketAddr> = std::env::args().skip(1).filter_map(|word| word.parse().ok()).collect();
    let [listen, upstream] = addresses.as_slice() else { return ExitCode::from(2) };
    let conf = ServerConf {
        threads: 1,
        work_stealing: false,
        grace_period_seconds: Some(1),
        graceful_shutdown_timeout_seconds: Some(1),
        ..ServerConf::default()
    };
    let mut server = Server::new_with_opt_and_conf(None, conf);
    server.bootstrap();
    let proxy = Smallest { peer: HttpPeer::new(upstream, false, String::new()) };
    let mut service = http_proxy_service(&server.configuration, proxy);
    service.add_tcp(&listen.to_string());
    server.add_service(service);
    server.run(RunArgs::default());
    ExitCode::SUCCESS
}
