//! All end-to-end suites: one binary, one link.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

/// The same test on each store.
macro_rules! on_both_stores {
    ($(async fn $name:ident($gateway:ident: Gateway) $body:block)+) => {
        mod on_sqlite {
            use super::*;
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                let $gateway = tollgate_tests::Gateway::on_sqlite().await;
                $body
            })+
        }
        mod on_postgres {
            use super::*;
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                let $gateway = tollgate_tests::Gateway::on_postgres().await;
                $body
            })+
        }
    };
}

mod access_log;
mod acl;
mod admin;
mod admin_security;
mod as_endpoints;
mod as_grants;
mod authorize;
mod balancing;
mod basic_auth;
mod browser;
mod buffering;
mod certificates;
mod check;
mod commands;
mod console;
mod correlation_id;
mod cors;
mod deck;
mod declarative;
mod descriptors;
mod embedded_store;
mod exactly_once;
mod explain;
mod failover;
mod feed;
mod foreign_clients;
mod framing;
mod grpc;
mod http1;
mod http2;
mod idle_connections;
mod introspection;
mod ip_restriction;
mod jwt;
mod jwt_access_token;
mod key_auth;
mod kill_rounds;
mod lifecycle;
mod limits;
mod lost_responses;
mod metrics;
mod monitoring;
mod multiple_auth;
mod nodes;
mod openapi;
mod outage;
mod packages;
mod pgbouncer;
mod plugins;
mod profile;
mod prometheus;
mod proxy;
mod proxy_protocol;
mod quickstart;
mod races;
mod rate_limiting;
mod refresh_grace;
mod reload;
mod request_size_limiting;
mod request_termination;
mod resource;
mod revocation;
mod secrets;
mod sender_constrained;
mod service_manager;
mod spelling;
mod third_party;
mod third_party_servers;
mod tidy;
mod tls_settings;
mod token;
mod token_lifetime;
mod traces;
mod tutorial;
mod upgrade;
mod upstream_http2;
mod upstreams;
mod warnings;
mod websocket;
