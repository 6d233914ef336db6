#[tokio::test]
async fn scratch_tls() {
    let try_url = |url: &str| { let o = crate::Options::new(url); async move { crate::Migrations::new(&o).status().await.map(drop).map_err(|e| { use std::error::Error; let mut t = e.to_string(); let mut s = e.source(); while let Some(x) = s { t += &format!(": {x}"); s = x.source(); } t }) } };
    for url in [
        "postgres://postgres@localhost:55433/postgres?sslmode=verify-full&sslrootcert=/tmp/pgtls/server.crt",
        "postgres://postgres@127.0.0.1:55433/postgres?sslmode=verify-full&sslrootcert=/tmp/pgtls/server.crt",
        "postgres://postgres@127.0.0.1:55433/postgres?sslmode=verify-ca&sslrootcert=/tmp/pgtls/server.crt",
        "postgres://postgres@localhost:55433/postgres?sslmode=verify-full",
        "postgres://postgres@localhost:55433/postgres?sslmode=require",
        "postgres://postgres@127.0.0.1:55433/postgres?sslmode=prefer",
        "postgres://postgres@127.0.0.1:55432/postgres?sslmode=require",
        "postgres://postgres@127.0.0.1:55432/postgres?sslmode=prefer",
        "postgres:///postgres?user=postgres&host=/tmp/pg&port=55432&sslmode=require",
        "postgres:///postgres?user=postgres&host=/tmp/pg&port=55432",
    ] { eprintln!("TLS {url} => {:?}", try_url(url).await); }
}
