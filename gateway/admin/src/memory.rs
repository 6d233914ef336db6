//! Memory figures of `/status` and their units (gateway.md §2.5).

use serde_json::{Map, Value, json};

use crate::query::Query;
use crate::response::Failure;

/// The node's memory usage, in bytes.
#[derive(Debug, Clone, Default)]
pub struct Memory {
    /// Bounded areas, such as a cache.
    pub regions: Vec<MemoryRegion>,
    /// The processes' own memory.
    pub workers: Vec<MemoryWorker>,
}

/// A bounded area of memory.
#[derive(Debug, Clone)]
pub struct MemoryRegion {
    /// Its name.
    pub name: String,
    /// Its limit.
    pub capacity: u64,
    /// How much of it is in use.
    pub allocated: u64,
}

/// The memory of a process.
#[derive(Debug, Clone, Copy)]
pub struct MemoryWorker {
    /// The process.
    pub pid: u32,
    /// How much it has allocated.
    pub allocated: u64,
}

impl Memory {
    /// The figures as `/status` shows them, in the unit and scale that the query requests.
    pub(crate) fn publish(&self, query: &Query) -> Result<Value, Failure> {
        let format = Format::parse(query)?;
        let regions: Map<String, Value> = self.regions.iter().map(|region| (region.name.clone(), json!({ "capacity": format.bytes(region.capacity), "allocated_slabs": format.bytes(region.allocated) }))).collect();
        let workers: Vec<Value> = self
            .workers
            .iter()
            .map(|worker| json!({ "pid": worker.pid, "http_allocated_gc": format.bytes(worker.allocated) }))
            .collect();
        Ok(json!({ "lua_shared_dicts": regions, "workers_lua_vms": workers }))
    }
}

#[derive(Debug, Clone, Copy)]
enum Unit {
    Bytes,
    /// The divisor and the suffix.
    Binary(f64, &'static str),
}

#[derive(Debug, Clone, Copy)]
struct Format {
    unit: Unit,
    /// Digits after the decimal point.
    scale: usize,
}

impl Format {
    /// More digits than this have no meaning for bytes.
    const MAX_SCALE: f64 = 20.0;

    fn parse(query: &Query) -> Result<Self, Failure> {
        let unit = query.get("unit");
        let unit = unit.as_deref().unwrap_or("m");
        let unit = match unit {
            "" | "b" | "B" => Unit::Bytes,
            "k" | "K" => Unit::Binary(1024.0, "KiB"),
            "m" | "M" => Unit::Binary(1024.0 * 1024.0, "MiB"),
            "g" | "G" => Unit::Binary(1024.0 * 1024.0 * 1024.0, "GiB"),
            other => return Err(Failure::InvalidUnit(other.to_owned())),
        };
        let scale = query.get("scale").and_then(|scale| scale.trim().parse::<f64>().ok()).unwrap_or(2.0);
        if scale < 0.0 {
            return Err(Failure::InvalidScale);
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to 0..=20 just before")]
        let scale = scale.min(Self::MAX_SCALE).floor() as usize;
        Ok(Self { unit, scale })
    }

    #[expect(clippy::cast_precision_loss, reason = "a figure for display, rounded anyway")]
    fn bytes(self, bytes: u64) -> Value {
        match self.unit {
            Unit::Bytes => Value::from(bytes),
            Unit::Binary(divisor, name) => Value::from(format!("{:.*} {name}", self.scale, bytes as f64 / divisor)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(query: &str) -> Result<Value, String> {
        let region = MemoryRegion { name: "tokens".to_owned(), capacity: 5 << 20, allocated: 1536 };
        let memory = Memory { regions: vec![region], workers: vec![MemoryWorker { pid: 7, allocated: 1 << 30 }] };
        memory.publish(&Query::parse(Some(query)).unwrap()).map_err(|failure| format!("{failure:?}"))
    }

    #[test]
    fn figures_are_mebibytes_with_two_digits_unless_asked_otherwise() {
        let expected = json!({
            "lua_shared_dicts": { "tokens": { "capacity": "5.00 MiB", "allocated_slabs": "0.00 MiB" } },
            "workers_lua_vms": [{ "pid": 7, "http_allocated_gc": "1024.00 MiB" }],
        });
        assert_eq!(shown("").unwrap(), expected);
    }

    #[test]
    fn unit_and_scale_follow_the_query() {
        assert_eq!(shown("unit=k&scale=1").unwrap()["lua_shared_dicts"]["tokens"]["allocated_slabs"], "1.5 KiB");
        assert_eq!(shown("unit=b").unwrap()["lua_shared_dicts"]["tokens"]["capacity"], 5 << 20);
        assert_eq!(shown("unit=G&scale=0").unwrap()["workers_lua_vms"][0]["http_allocated_gc"], "1 GiB");
    }

    #[test]
    fn a_bad_unit_or_scale_is_refused() {
        assert_eq!(shown("unit=V"), Err("InvalidUnit(\"V\")".to_owned()));
        assert_eq!(shown("scale=-1"), Err("InvalidScale".to_owned()));
    }
}
