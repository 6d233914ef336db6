//! Counts the gateway's instructions per request under callgrind, and compares them with a file: this detects
//! regressions without measuring time.
//!
//!     instructions --tollgate PROGRAM [--accept]
//!
//! A whole gateway, one connection, one request after another. Background work (polling the store for changes
//! of other nodes) falls into few of the counted windows, so the smallest window is the count.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

use clap::Parser;
use tollgate_bench::error::{Error, Result};
use tollgate_bench::measurement::story;
use tollgate_bench::program::{AccessLog, Tollgate, TollgateSettings};
use tollgate_bench::site::{Extent, Site};
use tollgate_bench::stage::holders;
use tollgate_load::third_party::{Algorithm, Authority, FORWARDED, Kind, Minter, Signer, plugin};
use tollgate_quickstart::certificate;

/// How far a count may exceed the recorded one.
const TOLERANCE: f64 = 0.03;
/// Requests before counting starts.
const WARM_UP: u32 = 500;
/// Counted windows, and requests in each.
const WINDOWS: u32 = 12;
const REQUESTS: u32 = 250;

/// Counts the gateway's instructions per request.
#[derive(Parser)]
struct Options {
    /// The gateway, a release build.
    #[arg(long, default_value = "target/release/tollgate")]
    tollgate: PathBuf,
    /// File with the recorded counts.
    #[arg(long, default_value = "loadtest/instructions.json")]
    counts: PathBuf,
    /// Record the new counts.
    #[arg(long)]
    accept: bool,
}

/// Instructions per request, by scenario.
type Counts = BTreeMap<String, u64>;

fn main() -> ExitCode {
    let options = Options::parse();
    let done = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Error::system("cannot start a runtime"))
        .and_then(|runtime| runtime.block_on(count_all(&options)))
        .and_then(|counts| judge(&options, &counts));
    match done {
        Ok(text) => say(&text, ExitCode::SUCCESS),
        Err(error) => say(&story(&error), ExitCode::FAILURE),
    }
}

fn say(text: &str, code: ExitCode) -> ExitCode {
    match writeln!(std::io::stdout(), "{text}") {
        Ok(()) => code,
        Err(_) => ExitCode::FAILURE,
    }
}

/// The result as text; an error if a scenario costs more than recorded.
fn judge(options: &Options, counts: &Counts) -> Result<String> {
    let name = options.counts.display();
    if options.accept {
        let text = serde_json::to_string_pretty(counts).unwrap_or_default();
        fs::write(&options.counts, text + "\n").map_err(Error::system(format!("cannot write {name}")))?;
        return Ok(format!("{counts:?} recorded in {name}"));
    }
    let text =
        fs::read(&options.counts).map_err(Error::system(format!("cannot read {name}; create it with --accept")))?;
    let kept: Counts = serde_json::from_slice(&text).map_err(|error| Error::Usage(format!("{name}: {error}")))?;
    let mut lines = Vec::new();
    let mut worse = false;
    for (scenario, count) in counts {
        let Some(before) = kept.get(scenario) else {
            return Err(Error::Usage(format!("{name} has no `{scenario}`; recreate it with --accept")));
        };
        let change = *count as f64 / (*before).max(1) as f64 - 1.0;
        worse |= change > TOLERANCE;
        lines.push(format!("{scenario}: {count} instructions per request, {before} before ({:+.1} %)", change * 100.0));
    }
    if worse {
        lines.push(format!(
            "More than {:.0} % above {name}: find out why (docs/performance.md), or record the new counts with --accept",
            TOLERANCE * 100.0
        ));
        return Err(Error::Usage(lines.join("\n")));
    }
    Ok(lines.join("\n"))
}

async fn count_all(options: &Options) -> Result<Counts> {
    let folder = tempfile::tempdir().map_err(Error::system("cannot create a folder"))?;
    let upstream = upstream()?;
    let dumps = folder.path().join("callgrind");
    let program = under_callgrind(folder.path(), &options.tollgate, &dumps)?;
    let certificate = certificate::keep_in(folder.path()).map_err(|error| Error::Usage(story(&error)))?;
    let settings = TollgateSettings {
        name: "counted",
        database_url: format!("sqlite:{}", folder.path().join("tollgate.db").display()),
        cache_bytes: 1 << 20,
        third_party_percent: 50,
        access_log: AccessLog::Off,
        trusted_ips: "",
    };
    let tollgate = Tollgate::start(folder.path(), &program, &settings, &certificate).await?;
    let site =
        Site::make(&format!("http://{}", tollgate.admin), upstream, Extent { services: 1, consumers: 1 }).await?;
    let token = site.token().await?;
    let proxy = tollgate.proxy.http.ok_or_else(|| Error::Usage("the gateway has no HTTP listener".to_owned()))?;
    let guarded = site.guarded.first().map(|guarded| guarded.path.clone()).unwrap_or_default();
    let bearer = format!("Authorization: Bearer {token}\r\n");
    let mut counted = Counted { process: tollgate.proxy.process, dumps, taken: 0 };
    let mut counts = Counts::new();
    let (_authority, third_party) = third_party(&site, upstream).await?;
    let own = [("no plugin", site.plain, String::new()), ("oauth2, warm", guarded, bearer)];
    for (scenario, path, header) in own.into_iter().chain(third_party) {
        let request = format!("GET {path} HTTP/1.1\r\nHost: {proxy}\r\n{header}\r\n");
        counts.insert(scenario.to_owned(), counted.count(proxy, &request)?);
    }
    Ok(counts)
}

/// An authority, and a scenario for each plugin that accepts its tokens: its name, its path and a token's header.
async fn third_party(site: &Site, upstream: SocketAddr) -> Result<(Authority, [(&'static str, String, String); 2])> {
    let holders = holders(site.registered.len());
    let signer = Signer::generate(Algorithm::Es256).map_err(Error::store)?;
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let authority = Authority::start(any, holders.clone(), std::slice::from_ref(&signer));
    let authority = authority.map_err(Error::system("cannot serve a stub authority"))?;
    let kinds = [
        ("oauth2-introspection, cached", "i", Kind::Introspection, None),
        ("jwt-access-token, cached", "j", Kind::Es256, Some(signer)),
    ];
    let mut scenarios = kinds.clone().map(|(name, ..)| (name, String::new(), String::new()));
    for ((_, path, header), (_, suffix, kind, signer)) in scenarios.iter_mut().zip(kinds) {
        site.protect(suffix, upstream, plugin(kind, authority.listening, &FORWARDED)).await?;
        let minter = Minter { issuer: authority.listening.issuer(), holders: holders.clone(), signer };
        *path = format!("/{}", Site::named(suffix));
        *header = format!("Authorization: Bearer {}\r\n", minter.mint(0).map_err(Error::store)?);
    }
    Ok((authority, scenarios))
}

/// A script that starts the gateway under callgrind, with the arguments it gets.
fn under_callgrind(folder: &Path, program: &Path, dumps: &Path) -> Result<PathBuf> {
    let program = std::path::absolute(program).map_err(Error::system("there is no working directory"))?;
    let script = folder.join("under-callgrind");
    let text = format!(
        "#!/bin/sh\nexec valgrind --quiet --tool=callgrind --instr-atstart=no --callgrind-out-file='{}' '{}' \"$@\"\n",
        dumps.display(),
        program.display()
    );
    fs::write(&script, text)
        .and_then(|()| fs::set_permissions(&script, fs::Permissions::from_mode(0o700)))
        .map_err(Error::system("cannot write a script"))?;
    Ok(script)
}

/// A gateway under callgrind.
struct Counted {
    process: u32,
    dumps: PathBuf,
    /// Number of dumps so far; each is a separate file.
    taken: u32,
}

impl Counted {
    fn count(&mut self, proxy: SocketAddr, request: &str) -> Result<u64> {
        let mut connection = Connection::open(proxy)?;
        connection.repeat(request, WARM_UP)?;
        self.control(&["--instr=on"])?;
        connection.repeat(request, WARM_UP)?;
        let mut least = u64::MAX;
        for _ in 0..WINDOWS {
            self.control(&["--zero"])?;
            connection.repeat(request, REQUESTS)?;
            least = least.min(self.dump()?);
        }
        self.control(&["--instr=off"])?;
        Ok(least / u64::from(REQUESTS))
    }

    /// The instructions since the last dump.
    fn dump(&mut self) -> Result<u64> {
        self.control(&["--dump"])?;
        self.taken += 1;
        let path = PathBuf::from(format!("{}.{}", self.dumps.display(), self.taken));
        let text = fs::read_to_string(&path).map_err(Error::system(format!("cannot read {}", path.display())))?;
        let totals = text.lines().find_map(|line| line.strip_prefix("totals: ")?.trim().parse().ok());
        totals.ok_or_else(|| Error::Usage(format!("{} has no totals", path.display())))
    }

    fn control(&self, arguments: &[&str]) -> Result<()> {
        let mut command = Command::new("callgrind_control");
        command.args(arguments).arg(self.process.to_string());
        let output = command.output().map_err(Error::system("cannot start callgrind_control (of valgrind)"))?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        Err(Error::Failed { program: "callgrind_control".to_owned(), said })
    }
}

/// A keep-alive connection.
struct Connection {
    stream: BufReader<TcpStream>,
}

impl Connection {
    fn open(address: SocketAddr) -> Result<Self> {
        let opened = TcpStream::connect(address).and_then(|stream| {
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(Duration::from_secs(30)))?;
            Ok(Self { stream: BufReader::new(stream) })
        });
        opened.map_err(Error::system("cannot connect to the gateway"))
    }

    /// Sends a request repeatedly; each response must be 200.
    fn repeat(&mut self, request: &str, times: u32) -> Result<()> {
        for _ in 0..times {
            let status = self.exchange(request).map_err(Error::system("no response from the gateway"))?;
            if !status.contains(" 200 ") {
                return Err(Error::WrongResponse { row: "instructions".to_owned(), what: status });
            }
        }
        Ok(())
    }

    /// The status line of the response.
    fn exchange(&mut self, request: &str) -> std::io::Result<String> {
        self.stream.get_mut().write_all(request.as_bytes())?;
        let mut status = String::new();
        self.stream.read_line(&mut status)?;
        let mut length = 0;
        loop {
            let mut line = String::new();
            if self.stream.read_line(&mut line)? <= 2 {
                break;
            }
            let line = line.to_ascii_lowercase();
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse().unwrap_or(0);
            }
        }
        std::io::copy(&mut self.stream.by_ref().take(length), &mut std::io::sink())?;
        Ok(status)
    }
}

/// Responds to every request with 100 bytes, on threads that end with the process.
fn upstream() -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").map_err(Error::system("no free port"))?;
    let address = listener.local_addr().map_err(Error::system("a socket has no address"))?;
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || respond_to_all(stream));
        }
    });
    Ok(address)
}

fn respond_to_all(stream: TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut stream = BufReader::new(stream);
    let response = format!(
        "HTTP/1.1 200 OK\r\nServer: fixed\r\nDate: Tue, 24 Nov 2026 12:00:00 GMT\r\nContent-Type: text/plain\r\n\
         Content-Length: 100\r\nConnection: keep-alive\r\n\r\n{}",
        "0123456789".repeat(10)
    );
    let mut line = String::new();
    while stream.read_line(&mut line)? > 0 {
        if line == "\r\n" {
            stream.get_mut().write_all(response.as_bytes())?;
        }
        line.clear();
    }
    Ok(())
}
