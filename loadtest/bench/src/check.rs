//! Checks one response of each row before its load: status, body, and the identity headers that reach the
//! upstream.

use std::fs;

use reqwest::{Client, Method};
use serde_json::Value;
use tollgate_oauth2::token::TOKEN_LENGTH;

use crate::error::{Error, Result};
use crate::load::{HOST, Requests, Wire};
use crate::program::{BODY, Proxy};
use crate::row::{Ask, Row};

/// Sends the row's first request.
pub async fn check(row: &Row, proxy: &Proxy, requests: &Requests) -> Result<()> {
    let client = Client::builder()
        .danger_accept_invalid_certs(true)
        .build()
        .map_err(|source| Error::Unreachable { url: "no client".to_owned(), source })?;
    requests.renew()?;
    let first = first_request(requests)?;
    let base = match (row.wire, proxy.http, proxy.https) {
        (Wire::Plain, Some(address), _) => format!("http://{address}"),
        (Wire::Tls | Wire::H2, _, Some(address)) => format!("https://{address}"),
        _ => return Err(wrong(row, "it does not listen on that protocol")),
    };
    let (status, body) = first.send(&client, &base, "").await?;
    let wanted = if row.expects_success() { 200 } else { 401 };
    if status != wanted {
        return Err(wrong(row, format!("the status is {status}, expected {wanted}: {body}")));
    }
    match row.ask {
        Ask::Forged | Ask::Unknown => Ok(()),
        Ask::IssuePlain | Ask::IssueHashed => issued(row, &body),
        Ask::Introspect => active(row, &body),
        Ask::Plain | Ask::RateLimited => body_is_the_upstreams(row, &body),
        Ask::Proven => {
            body_is_the_upstreams(row, &body)?;
            let (status, _) = first.send(&client, &base, "").await?;
            if status == 401 { Ok(()) } else { Err(wrong(row, format!("a proof is accepted twice: {status}"))) }
        }
        Ask::ThirdParty(kind) if kind.algorithm().is_some() => {
            body_is_the_upstreams(row, &body)?;
            let (status, _) = first.tampered().send(&client, &base, "").await?;
            if status != 401 {
                return Err(wrong(row, format!("a token with a wrong signature gets {status}, expected 401")));
            }
            let (_, echoed) = first.send(&client, &base, "echo").await?;
            identity_reaches_the_upstream(row, requests, &echoed)
        }
        _ => {
            body_is_the_upstreams(row, &body)?;
            let (_, echoed) = first.send(&client, &base, "echo").await?;
            identity_reaches_the_upstream(row, requests, &echoed)
        }
    }
}

fn wrong(row: &Row, what: impl Into<String>) -> Error {
    Error::WrongResponse { row: row.name.to_owned(), what: what.into() }
}

fn body_is_the_upstreams(row: &Row, body: &str) -> Result<()> {
    if body == BODY { Ok(()) } else { Err(wrong(row, format!("the body is not the upstream's: {body}"))) }
}

fn issued(row: &Row, body: &str) -> Result<()> {
    let response: Value = serde_json::from_str(body).unwrap_or_default();
    let token = response.get("access_token").and_then(Value::as_str).unwrap_or_default();
    if token.len() == TOKEN_LENGTH { Ok(()) } else { Err(wrong(row, "no token was issued")) }
}

fn active(row: &Row, body: &str) -> Result<()> {
    let response: Value = serde_json::from_str(body).unwrap_or_default();
    if response.get("active") == Some(&Value::Bool(true)) { Ok(()) } else { Err(wrong(row, "the token is not active")) }
}

fn identity_reaches_the_upstream(row: &Row, requests: &Requests, echoed: &str) -> Result<()> {
    let Some(identity) = &requests.identity else { return Ok(()) };
    let told = |(name, value): &(&str, String)| echoed.contains(&format!(" {name}={value} "));
    if identity.echoed.iter().all(told) && (!identity.consumer || !echoed.contains(" id= ")) {
        Ok(())
    } else {
        Err(wrong(row, format!("the upstream got {echoed}, expected {identity:?}")))
    }
}

/// A request with the list's first token in it.
struct First {
    method: Method,
    path: String,
    headers: Vec<(&'static str, String)>,
    body: String,
}

fn first_request(requests: &Requests) -> Result<First> {
    let (mut path, mut token) = (requests.path.clone(), String::new());
    if let Some(tokens) = &requests.tokens {
        let list = fs::read_to_string(&tokens.list).map_err(Error::system("cannot read a list of tokens"))?;
        match list.lines().next().unwrap_or_default().split_once(' ') {
            Some((first_path, first_token)) => {
                path = path.replace("{path}", first_path);
                token = first_token.to_owned();
            }
            None => token = list.get(..TOKEN_LENGTH).unwrap_or_default().to_owned(),
        }
    }
    let headers = requests.headers.iter().map(|(name, value)| (*name, value.replace("{token}", &token))).collect();
    let method = if requests.method == "POST" { Method::POST } else { Method::GET };
    Ok(First { method, path, headers, body: requests.body.clone() })
}

impl First {
    /// The same with the first character of the JWT's signature changed.
    fn tampered(&self) -> Self {
        let change = |value: &String| {
            let Some((signed, signature)) = value.rsplit_once('.') else { return value.clone() };
            let first = if signature.starts_with('A') { "B" } else { "A" };
            format!("{signed}.{first}{}", signature.get(1..).unwrap_or_default())
        };
        let headers = self.headers.iter().map(|(name, value)| (*name, change(value))).collect();
        Self { method: self.method.clone(), path: self.path.clone(), headers, body: self.body.clone() }
    }

    async fn send(&self, client: &Client, base: &str, suffix: &str) -> Result<(u16, String)> {
        let url = format!("{base}{}{suffix}", self.path);
        let unreachable = |source| Error::Unreachable { url: url.clone(), source };
        let request = client.request(self.method.clone(), &url).header("Host", HOST).body(self.body.clone());
        let request = self.headers.iter().fold(request, |request, (name, value)| request.header(*name, value));
        let response = request.send().await.map_err(unreachable)?;
        let status = response.status().as_u16();
        Ok((status, response.text().await.map_err(unreachable)?))
    }
}
