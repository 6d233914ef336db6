//! What a TLS handshake costs among ten thousand certificates, and what memory each of them takes.

use std::net::SocketAddr;
use std::time::Duration;

use openssl::ssl::{SslConnector, SslMethod, SslVerifyMode};
use serde_json::json;
use tollgate_quickstart::certificate;

use crate::cpu::CpuTime;
use crate::error::{Error, Result};
use crate::figure::Figure;
use crate::options::Amounts;
use crate::progress::say;
use crate::sample::Spread;
use crate::stage::Stage;

/// The name of this part of a run.
pub const CERTIFICATES: &str = "certificates";

const FEW: usize = 10;
const MANY: usize = 10_000;

/// Handshakes of a round with each gateway.
const HANDSHAKES: usize = 1000;

/// Keys that the certificates share: making them is not what is measured.
const DIFFERENT: usize = 100;

/// How long a handshake may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// A gateway with certificates.
pub struct Holder {
    /// Its TLS listener.
    pub listener: SocketAddr,
    /// Its process.
    pub process: u32,
    /// What its memory grew by, in bytes, when the certificates were added.
    pub grown: u64,
}

/// Measures it.
pub async fn figures(stage: &mut Stage<'_>, amounts: Amounts) -> Result<Vec<Figure>> {
    let few = stage.with_certificates("few-certificates", FEW).await?;
    let many = stage.with_certificates("many-certificates", MANY).await?;
    let [mut alone, mut among, mut ratios] = [const { Vec::new() }; 3];
    for round in 1..=amounts.rounds {
        let (small, large) = (cost(&few, FEW, round)?, cost(&many, MANY, round)?);
        say(&format!("  round {round}: {small:.0} µs among {FEW}, {large:.0} µs among {MANY}"));
        alone.push(small);
        among.push(large);
        ratios.push(large / small);
    }
    let median = |numbers: &[f64]| Spread::of(numbers.iter().copied()).map_or(0.0, |spread| spread.median);
    let bytes = many.grown as f64 / MANY as f64;
    Ok(vec![
        Figure::new("handshake-few", "CPU of a TLS handshake with 10 certificates", median(&alone), "µs"),
        Figure::new("handshake-many", "CPU of a TLS handshake with 10,000 certificates", median(&among), "µs"),
        Figure::new("handshake-growth", "TLS handshake with 10,000 certificates ÷ with 10", median(&ratios), ""),
        Figure::new("bytes-per-certificate", "resident bytes per certificate (P-256), of 10,000", bytes, "bytes"),
    ])
}

/// A declarative file with this many certificates, each for a name of its own.
pub fn file(count: usize) -> Result<String> {
    let made = (0..DIFFERENT.min(count))
        .map(|_| certificate::self_signed("certificate"))
        .collect::<std::result::Result<Vec<_>, _>>();
    let made = made.map_err(Error::store)?;
    let text = |pem: &[u8]| String::from_utf8_lossy(pem).into_owned();
    let certificates: Vec<_> = made
        .iter()
        .cycle()
        .take(count)
        .enumerate()
        .map(|(number, made)| {
            json!({"id": uuid::Uuid::new_v4(), "cert": text(&made.certificate), "key": text(&made.key), "snis": [{"name": name(number)}]})
        })
        .collect();
    Ok(json!({"_format_version": "3.0", "certificates": certificates}).to_string())
}

fn name(number: usize) -> String {
    format!("host-{number}.certificates.test")
}

/// CPU of the gateway per handshake, in microseconds: each asks for another name.
fn cost(holder: &Holder, count: usize, round: usize) -> Result<f64> {
    let cpu = || CpuTime::of(holder.process).map_err(Error::system("the gateway has ended"));
    let before = cpu()?;
    for number in 0..HANDSHAKES {
        // A step that shares no factor with the count: far from the one before.
        shake_hands(holder.listener, (round * HANDSHAKES + number * 7919) % count)?;
    }
    Ok(cpu()?.since(&before).as_secs_f64() * 1e6 / HANDSHAKES as f64)
}

/// A handshake, without a session of an earlier one, for the name with this number.
pub fn shake_hands(listener: SocketAddr, number: usize) -> Result<()> {
    let failed = || Error::system("cannot connect to the gateway");
    let stream = std::net::TcpStream::connect_timeout(&listener, PATIENCE).map_err(failed())?;
    stream.set_read_timeout(Some(PATIENCE)).map_err(failed())?;
    let mut connector = SslConnector::builder(SslMethod::tls_client()).map_err(Error::store)?;
    connector.set_verify(SslVerifyMode::NONE);
    let stream = connector
        .build()
        .connect(&name(number), stream)
        .map_err(|error| Error::Failed { program: "a TLS handshake".to_owned(), said: error.to_string() })?;
    let served = stream.ssl().peer_certificate().and_then(|certificate| {
        let entry = certificate.subject_name().entries().next()?;
        entry.data().to_string().ok()
    });
    // The certificate of the settings has another subject.
    if served.as_deref() == Some("certificate") {
        return Ok(());
    }
    Err(Error::WrongResponse { row: CERTIFICATES.to_owned(), what: format!("the certificate is that of {served:?}") })
}
