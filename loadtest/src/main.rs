//! Load tester for gateways that check opaque OAuth2 tokens.
fn main() {}
