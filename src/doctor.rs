//! `reverie doctor`: what this machine has of what Reverie needs or profits from, and what to do about the rest.
//!
//! Only reads: no thread changes its scheduling, no memory is locked; two ports are bound for an instant on loopback.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::bail;
use reverie_policy::engine::Instructions;
use rustix::process::{Resource, getrlimit};
use serde::Serialize;

/// What the `tch` crate checks for when it is compiled.
const LIBTORCH_VERSION: &str = "2.13.0";
/// A viewer opens only recordings of its own version.
const RERUN_VERSION: &str = "0.36.3";
const RUST_VERSION: &str = env!("CARGO_PKG_RUST_VERSION");
/// Bits of a capability mask, from `linux/capability.h`.
const CAP_IPC_LOCK: u32 = 14;
const CAP_SYS_NICE: u32 = 23;
/// Linux's default timer slack; ordinary threads wake up to this much late.
const DEFAULT_TIMER_SLACK_NS: u64 = 50_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Status {
    Ok,
    /// Works, but worse than it could.
    Warn,
    /// Needed, and missing.
    Fail,
}

#[derive(Debug, Serialize)]
struct Check {
    name: &'static str,
    status: Status,
    found: String,
    /// What to do; none where all is well.
    advice: Option<String>,
}

impl Check {
    fn ok(name: &'static str, found: impl Into<String>) -> Self {
        Self { name, status: Status::Ok, found: found.into(), advice: None }
    }

    fn warn(name: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { name, status: Status::Warn, found: found.into(), advice: Some(advice.into()) }
    }

    fn fail(name: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { name, status: Status::Fail, found: found.into(), advice: Some(advice.into()) }
    }
}

/// Prints a line for each check, or one JSON object `{"ok", "checks": [{"name", "status", "found", "advice"}]}`.
///
/// # Errors
/// When something is missing that Reverie needs.
pub fn run(json: bool) -> anyhow::Result<()> {
    let checks = checks();
    let missing: Vec<&str> = checks.iter().filter(|check| check.status == Status::Fail).map(|check| check.name).collect();
    if json {
        let report = serde_json::json!({ "ok": missing.is_empty(), "checks": checks });
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        for check in &checks {
            let word = match check.status {
                Status::Ok => "ok",
                Status::Warn => "warn",
                Status::Fail => "FAIL",
            };
            println!("{word:<4}  {:<15}  {}", check.name, check.found);
            if let Some(advice) = &check.advice {
                println!("{:<23}-> {advice}", "");
            }
        }
    }
    if !missing.is_empty() {
        bail!("missing or wrong: {}", missing.join(", "));
    }
    Ok(())
}

fn checks() -> Vec<Check> {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let libtorch = loaded_libtorch(&fs::read_to_string("/proc/self/maps").unwrap_or_default());
    vec![
        toolchain(),
        check_libtorch(libtorch.as_deref()),
        cuda(libtorch.as_deref()),
        cpu(),
        decode_engine(),
        cores(),
        governor(Path::new("/sys/devices/system/cpu")),
        kernel(),
        realtime_priority(has_capability(&status, CAP_SYS_NICE)),
        locked_memory(has_capability(&status, CAP_IPC_LOCK)),
        timer_slack(),
        port("port 7447", 7447, "zenoh listens here: end the other program, or listen elsewhere"),
        port("port 9876", 9876, "a viewer is already open, or another program uses the port of the rerun viewer"),
        viewer(),
        python(),
    ]
}

/// What a program prints on standard output, if it starts and succeeds.
fn output_of(program: impl AsRef<Path>, argument: &str) -> Option<String> {
    let output = Command::new(program.as_ref()).arg(argument).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn toolchain() -> Check {
    let name = "rust";
    let advice = format!("to build here, install Rust {RUST_VERSION} or newer");
    match output_of("rustc", "--version") {
        None => Check::warn(name, "no rustc on the PATH", advice),
        Some(version) if is_older(&version, RUST_VERSION) => Check::warn(name, version, advice),
        Some(version) => Check::ok(name, version),
    }
}

/// Compares the first `major.minor` in `text`; what cannot be read counts as new.
fn is_older(text: &str, wanted: &str) -> bool {
    let major_minor = |text: &str| {
        let mut numbers = text.split_whitespace().find(|word| word.starts_with(|c: char| c.is_ascii_digit()))?.split('.');
        Some((numbers.next()?.parse::<u32>().ok()?, numbers.next()?.parse::<u32>().ok()?))
    };
    matches!((major_minor(text), major_minor(wanted)), (Some(found), Some(wanted)) if found < wanted)
}

/// The folder of the libtorch that the system has really loaded into this process.
fn loaded_libtorch(maps: &str) -> Option<PathBuf> {
    let path =
        maps.lines().find_map(|line| line.find('/').map(|at| &line[at..]).filter(|path| path.ends_with("/libtorch_cpu.so")))?;
    Path::new(path).parent().map(Path::to_owned)
}

fn check_libtorch(lib: Option<&Path>) -> Check {
    let name = "libtorch";
    if !cfg!(feature = "learn") {
        return Check::ok(name, "not part of this build (feature `learn`)");
    }
    let Some(lib) = lib else {
        return Check::fail(name, "not loaded", "run `cargo xtask setup`, and build again");
    };
    let version = lib.parent().and_then(|folder| fs::read_to_string(folder.join("build-version")).ok());
    let found = |version: &str| format!("{version} in {}", lib.display());
    match version.as_deref().map(str::trim) {
        None => Check::warn(name, found("unknown version"), format!("make sure that it is {LIBTORCH_VERSION}")),
        Some(version) if version.split('+').next() == Some(LIBTORCH_VERSION) => Check::ok(name, found(version)),
        Some(version) => Check::fail(
            name,
            found(version),
            format!("install {LIBTORCH_VERSION}, or unset LIBTORCH and run `cargo xtask setup`"),
        ),
    }
}

fn cuda(lib: Option<&Path>) -> Check {
    let name = "cuda";
    let device = Path::new("/dev/nvidia0").exists();
    let gpu = output_of("nvidia-smi", "-L").and_then(|list| list.lines().next().map(str::to_owned));
    let with_cuda = lib.is_some_and(|lib| lib.join("libtorch_cuda.so").exists());
    match (gpu, device) {
        (None, false) => Check::ok(name, "no NVIDIA GPU; the CPU is used"),
        (None, true) => Check::warn(
            name,
            "/dev/nvidia0 is there, but nvidia-smi does not answer",
            "install the driver's tools, or check the driver",
        ),
        (Some(gpu), _) if with_cuda => Check::ok(name, gpu),
        (Some(gpu), _) if !cfg!(feature = "learn") => Check::ok(name, gpu),
        (Some(gpu), _) => Check::warn(
            name,
            format!("{gpu}, but libtorch is without CUDA"),
            "remove .libtorch, run `cargo xtask setup --cuda`, and build again",
        ),
    }
}

fn cpu() -> Check {
    let name = "cpu features";
    let features = cpu_features();
    let have: Vec<&str> = features.iter().filter(|(_, there)| *there).map(|(name, _)| *name).collect();
    let lack: Vec<&str> = features.iter().filter(|(_, there)| !there).map(|(name, _)| *name).collect();
    let found =
        format!("{}: {}", std::env::consts::ARCH, if have.is_empty() { "none of interest".to_owned() } else { have.join(" ") });
    // AVX-512 is a gain where it exists; without AVX2 and FMA, decoding is several times slower.
    if lack.iter().any(|feature| ["avx2", "fma", "neon"].contains(feature)) {
        return Check::warn(name, found, format!("no {}: decoding is slow on this processor", lack.join(" ")));
    }
    Check::ok(name, found)
}

#[cfg(target_arch = "x86_64")]
fn cpu_features() -> Vec<(&'static str, bool)> {
    vec![
        ("avx2", is_x86_feature_detected!("avx2")),
        ("fma", is_x86_feature_detected!("fma")),
        ("avx512f", is_x86_feature_detected!("avx512f")),
        ("avx512bf16", is_x86_feature_detected!("avx512bf16")),
    ]
}

#[cfg(target_arch = "aarch64")]
fn cpu_features() -> Vec<(&'static str, bool)> {
    vec![("neon", std::arch::is_aarch64_feature_detected!("neon"))]
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn cpu_features() -> Vec<(&'static str, bool)> {
    Vec::new()
}

/// Which of the engine's paths this CPU takes. Without the dot products bf16 and int8 weights are widened before they are multiplied.
fn decode_engine() -> Check {
    let name = "decode engine";
    let fastest = Instructions::Auto.resolve().unwrap_or(Instructions::Portable);
    match fastest {
        Instructions::Portable if cfg!(target_arch = "x86_64") => {
            Check::warn(name, fastest.name(), "this CPU has no AVX2: plans take several times as long")
        }
        _ => Check::ok(name, fastest.name()),
    }
}

fn cores() -> Check {
    let count = std::thread::available_parallelism().map_or(1, usize::from);
    if count < 2 {
        return Check::warn("cores", "1", "servo and policy share one core: expect late servo ticks");
    }
    Check::ok("cores", count.to_string())
}

fn governor(cpus: &Path) -> Check {
    let name = "cpu governor";
    let entries = fs::read_dir(cpus).into_iter().flatten().filter_map(Result::ok);
    let mut governors: Vec<String> = entries
        .filter_map(|entry| fs::read_to_string(entry.path().join("cpufreq/scaling_governor")).ok())
        .map(|text| text.trim().to_owned())
        .collect();
    governors.sort();
    governors.dedup();
    match governors.as_slice() {
        [] => Check::ok(name, "not readable here"),
        [one] if one == "performance" => Check::ok(name, one),
        several => Check::warn(name, several.join(", "), "for steady decode times: `cpupower frequency-set -g performance`"),
    }
}

fn kernel() -> Check {
    let name = "kernel";
    let uname = rustix::system::uname();
    let found = format!("{} {}", uname.sysname().to_string_lossy(), uname.release().to_string_lossy());
    let realtime = fs::read_to_string("/sys/kernel/realtime").is_ok_and(|text| text.trim() == "1");
    if realtime {
        return Check::ok(name, format!("{found}, PREEMPT_RT"));
    }
    Check::warn(name, format!("{found}, not PREEMPT_RT"), "fine for the simulation; on a robot, use a real-time kernel")
}

/// Reads the effective capabilities (`CapEff`, hexadecimal) in `/proc/self/status`.
fn has_capability(status: &str, bit: u32) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask >> bit & 1 == 1)
}

fn realtime_priority(capable: bool) -> Check {
    let name = "rt priority";
    if capable {
        return Check::ok(name, "allowed (CAP_SYS_NICE)");
    }
    match getrlimit(Resource::Rtprio).current {
        None => Check::ok(name, "allowed (RLIMIT_RTPRIO unlimited)"),
        Some(limit) if limit > 0 => Check::ok(name, format!("allowed up to {limit} (RLIMIT_RTPRIO)")),
        Some(_) => Check::warn(
            name,
            "not allowed: the servo thread runs at normal priority",
            "add `<user> - rtprio 80` to /etc/security/limits.conf and log in again",
        ),
    }
}

fn locked_memory(capable: bool) -> Check {
    let name = "locked memory";
    match getrlimit(Resource::Memlock).current {
        _ if capable => Check::ok(name, "allowed (CAP_IPC_LOCK)"),
        None => Check::ok(name, "allowed (RLIMIT_MEMLOCK unlimited)"),
        Some(bytes) => Check::warn(
            name,
            format!("limited to {} KiB: a page fault can delay the servo", bytes / 1024),
            "add `<user> - memlock unlimited` to /etc/security/limits.conf and log in again",
        ),
    }
}

fn timer_slack() -> Check {
    let name = "timer slack";
    match rustix::thread::current_timer_slack() {
        Err(_) => Check::ok(name, "not readable here"),
        Ok(slack_ns) if slack_ns <= DEFAULT_TIMER_SLACK_NS => Check::ok(name, format!("{slack_ns} ns")),
        Ok(slack_ns) => Check::warn(
            name,
            format!("{slack_ns} ns"),
            "timers wake late: start from a shell whose timer slack is the default 50000 ns",
        ),
    }
}

fn port(name: &'static str, port: u16, advice: &str) -> Check {
    match TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
        Ok(_) => Check::ok(name, "free on loopback"),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => Check::warn(name, "in use on loopback", advice),
        Err(error) => {
            Check::warn(name, format!("cannot listen on loopback: {error}"), "check the network set-up of this machine")
        }
    }
}

fn viewer() -> Check {
    let name = "rerun viewer";
    if !cfg!(feature = "view") {
        return Check::ok(name, "not part of this build (feature `view`)");
    }
    let right = |version: &str| version.split_whitespace().any(|word| word == RERUN_VERSION);
    let installed = output_of(".venv-rerun/bin/rerun", "--version").filter(|version| right(version));
    match installed.or_else(|| output_of("rerun", "--version")) {
        Some(version) if right(&version) => Check::ok(name, version.lines().next().unwrap_or_default()),
        Some(version) => Check::warn(
            name,
            version.lines().next().unwrap_or_default(),
            format!("recordings need {RERUN_VERSION}: `cargo xtask view demo.rrd` installs it"),
        ),
        None => Check::warn(name, "not found", "`cargo xtask view demo.rrd` installs it"),
    }
}

fn python() -> Check {
    match output_of("python3", "--version") {
        Some(version) => Check::ok("python3", version),
        None => Check::warn("python3", "not found", "needed by `cargo xtask setup` and `cargo xtask view`"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libtorch_is_read_from_the_process_map() {
        let maps = "7f00-7f01 r-xp 00000000 08:01 12   /usr/lib/libm.so.6\n\
            7f02-7f03 r-xp 00000000 08:01 13                 /home/a b/.libtorch/lib/libtorch_cpu.so\n";
        assert_eq!(loaded_libtorch(maps), Some(PathBuf::from("/home/a b/.libtorch/lib")));
        assert_eq!(loaded_libtorch("7f00-7f01 rw-p 00000000 00:00 0 [heap]\n"), None);
    }

    #[test]
    fn capabilities_are_bits_of_a_hexadecimal_mask() {
        let status = "Name:\treverie\nCapPrm:\tffffffffffffffff\nCapEff:\t0000000000800000\n";
        assert!(has_capability(status, CAP_SYS_NICE));
        assert!(!has_capability(status, CAP_IPC_LOCK));
        assert!(!has_capability("CapEff:\tnonsense\n", CAP_SYS_NICE));
    }

    #[test]
    fn versions_compare_as_numbers() {
        assert!(is_older("rustc 1.9.0 (abc 2016-05-01)", "1.95"));
        assert!(!is_older("rustc 1.95.0 (abc 2026-04-14)", "1.95"));
        assert!(!is_older("rustc 1.100.0-nightly", "1.95"));
    }

    #[test]
    fn a_port_in_use_is_a_warning() {
        let holder = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let number = holder.local_addr().unwrap().port();
        assert_eq!(port("port", number, "end it").status, Status::Warn);
        drop(holder);
        // A child that another test is just starting may hold a copy of the socket until it runs its own program.
        let freed = (0..100).any(|_| {
            std::thread::sleep(std::time::Duration::from_millis(10));
            port("port", number, "end it").status == Status::Ok
        });
        assert!(freed);
    }

    #[test]
    fn one_slow_governor_is_named() {
        let cpus = tempfile::tempdir().unwrap();
        for (cpu, governor) in [("cpu0", "performance\n"), ("cpu1", "powersave\n")] {
            fs::create_dir_all(cpus.path().join(cpu).join("cpufreq")).unwrap();
            fs::write(cpus.path().join(cpu).join("cpufreq/scaling_governor"), governor).unwrap();
        }
        let check = governor(cpus.path());
        assert_eq!((check.status, check.found.as_str()), (Status::Warn, "performance, powersave"));
    }
}
