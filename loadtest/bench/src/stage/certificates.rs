//! Gateways with many certificates.

use std::fs;
use std::time::{Duration, Instant};

use super::Stage;
use super::gateway::{SCANT, settings};
use crate::certificates::{Holder, file, shake_hands};
use crate::command;
use crate::cpu;
use crate::database::Database;
use crate::error::{Error, Result};
use crate::site::Extent;

/// How long the import of all certificates may take.
const IMPORT: Duration = Duration::from_secs(120);
/// How long it may take until they are served.
const SERVED: Duration = Duration::from_secs(60);

impl Stage<'_> {
    /// A gateway that serves this many certificates.
    pub async fn with_certificates(&mut self, name: &'static str, count: usize) -> Result<Holder> {
        let database = Database::Sqlite(self.path().join(format!("{name}.db")));
        let settings = settings(name, &database, SCANT);
        let configured = self.start(settings, database, Extent { services: 1, consumers: 1 }).await?;
        let list = self.path().join(format!("{name}.json"));
        fs::write(&list, file(count)?).map_err(Error::system("cannot write a declarative file"))?;
        let process = configured.tollgate.proxy.process;
        let Some(listener) = configured.tollgate.proxy.https else {
            return Err(Error::Usage("the gateway has no TLS listener".to_owned()));
        };
        let resident = || cpu::resident_bytes(process).map_err(Error::system("the gateway has ended"));
        let before = resident()?;
        self.import(name, &list).await?;
        // The last one is there when the others are.
        let imported = Instant::now();
        while let Err(error) = shake_hands(listener, count - 1) {
            if imported.elapsed() > SERVED {
                return Err(error);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let grown = resident()?.saturating_sub(before);
        self.kept.push(configured.tollgate);
        Ok(Holder { listener, process, grown })
    }

    async fn import(&self, name: &str, list: &std::path::Path) -> Result<()> {
        let program =
            std::path::absolute(&self.options.tollgate).map_err(Error::system("there is no working directory"))?;
        let database = format!("database.url=sqlite:{}", self.path().join(format!("{name}.db")).display());
        let folder = format!("data_directory={}", self.path().join(name).display());
        let words = [
            &program.display().to_string(),
            "config",
            "import",
            "--set",
            &database,
            "--set",
            &folder,
            &list.display().to_string(),
        ];
        command::run(&words.map(str::to_owned), IMPORT).await.map(drop)
    }
}
