//! Finds libtorch, or makes it once.
//!
//! `LIBTORCH` or `LIBTORCH_USE_PYTORCH`, set by the user, win. Otherwise `.libtorch/` in the repository is used, which
//! `.cargo/config.toml` names to cargo. Its parts come from Python wheels, whatever Python the user has.

use std::env;
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};

use crate::janitor::Janitor;
use crate::python::{Failure, Python};
use crate::wheel::{self, TORCH_VERSION, Wheel};

const FOLDER: &str = ".libtorch";
const PARTIAL_PREFIX: &str = ".libtorch-partial-";
/// Without these no program links or starts. `libtorch_cuda.so` tells a CUDA build from a CPU build.
const NEEDED: [&str; 6] = [
    "include/torch/csrc/api/include/torch/torch.h",
    "lib/libc10.so",
    "lib/libcudart.so.13",
    "lib/libcupti.so.13",
    "lib/libtorch.so",
    "lib/libtorch_cpu.so",
];
const GB: u64 = 1_000_000_000;

/// Whether a value of `LIBTORCH` is the folder that `.cargo/config.toml` names, not one of the user's own.
pub fn is_own(root: &Path, libtorch: &Path) -> bool {
    libtorch.file_name().is_some_and(|name| name == FOLDER)
        && libtorch.parent().and_then(|parent| parent.canonicalize().ok()).is_some_and(|parent| parent == root)
}

/// Makes sure that a build finds libtorch. Returns at once if it is there.
pub fn ensure(root: &Path, cuda: bool) -> anyhow::Result<()> {
    if env::var_os("LIBTORCH_USE_PYTORCH").is_some() {
        return check_pytorch();
    }
    if let Some(libtorch) = env::var_os("LIBTORCH").map(PathBuf::from).filter(|path| !is_own(root, path)) {
        return check_users(&libtorch);
    }
    let folder = root.join(FOLDER);
    if !folder.exists() {
        let _lock = lock(root)?;
        // Another set-up may have made it while this one waited.
        if !folder.exists() {
            make(root, &folder, cuda)?;
        }
    }
    check_own(&folder, cuda)?;
    eprintln!("xtask: libtorch {TORCH_VERSION} is in {}", folder.display());
    Ok(())
}

/// One set-up at a time. The lock is on the repository's folder itself, so no lock file is left.
fn lock(root: &Path) -> anyhow::Result<File> {
    let file = File::open(root).with_context(|| format!("cannot open {}", root.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            eprintln!("xtask: waiting for another set-up");
            file.lock().with_context(|| format!("cannot lock {}", root.display()))?;
            Ok(file)
        }
        Err(TryLockError::Error(error)) => Err(error).with_context(|| format!("cannot lock {}", root.display())),
    }
}

fn check_pytorch() -> anyhow::Result<()> {
    // The choice that the build of libtorch's bindings makes.
    let python = if env::var_os("VIRTUAL_ENV").is_some() { "python" } else { "python3" };
    let output = Command::new(python)
        .args(["-c", "import torch; print(torch.__version__)"])
        .output()
        .with_context(|| format!("LIBTORCH_USE_PYTORCH is set, but {python} does not start"))?;
    if !output.status.success() {
        bail!(
            "LIBTORCH_USE_PYTORCH is set, but {python} cannot import torch: install torch {TORCH_VERSION}, or unset the variable"
        );
    }
    let version = String::from_utf8_lossy(&output.stdout);
    check_version(
        &version,
        &format!("the torch of {python} (LIBTORCH_USE_PYTORCH)"),
        "install that version, or unset the variable",
    )?;
    eprintln!("xtask: using torch {} of {python}, as LIBTORCH_USE_PYTORCH says", version.trim());
    Ok(())
}

fn check_users(libtorch: &Path) -> anyhow::Result<()> {
    let shown = libtorch.display();
    if !libtorch.is_absolute() {
        bail!("LIBTORCH is `{shown}`: it must be an absolute path (or unset, and a libtorch is made)");
    }
    let below = |name: &str| env::var_os(name).map_or_else(|| libtorch.to_owned(), PathBuf::from);
    for file in [below("LIBTORCH_LIB").join("lib/libtorch_cpu.so"), below("LIBTORCH_INCLUDE").join("include/torch")] {
        if !file.exists() {
            bail!(
                "LIBTORCH is {shown}, but {} is missing: correct the variable, or unset it and a libtorch is made",
                file.display()
            );
        }
    }
    // Distributions and wheels do not all have this file; the build then goes on without a check, too.
    if let Ok(version) = fs::read_to_string(libtorch.join("build-version")) {
        check_version(&version, &format!("LIBTORCH ({shown})"), "install that version, or unset the variable and it is made")?;
    }
    eprintln!("xtask: using libtorch in {shown}, as LIBTORCH says");
    Ok(())
}

fn check_own(folder: &Path, cuda: bool) -> anyhow::Result<()> {
    let shown = folder.display();
    let version = fs::read_to_string(folder.join("build-version")).unwrap_or_default();
    if let Some(missing) = NEEDED.iter().find(|file| !folder.join(file).exists()) {
        bail!("{shown} has no {missing}: remove the folder and call again");
    }
    check_version(&version, &shown.to_string(), "remove the folder and call again")?;
    if cuda && !folder.join("lib/libtorch_cuda.so").exists() {
        bail!("{shown} is without CUDA: remove the folder and call `cargo xtask setup --cuda` again");
    }
    Ok(())
}

/// Versions look like `2.13.0` or `2.13.0+cu130`.
fn check_version(found: &str, whose: &str, remedy: &str) -> anyhow::Result<()> {
    let found = found.trim();
    if found.split('+').next() == Some(TORCH_VERSION) || env::var_os("LIBTORCH_BYPASS_VERSION_CHECK").is_some() {
        return Ok(());
    }
    let found = if found.is_empty() { "of an unknown version" } else { found };
    bail!("wrong version: {whose} is libtorch {found}, needed is {TORCH_VERSION}: {remedy}")
}

fn make(root: &Path, folder: &Path, cuda: bool) -> anyhow::Result<()> {
    let (wheels, download, disk_gb) = if cuda { (wheel::CUDA, "2.5 GB", 7) } else { (wheel::CPU, "540 MB", 3) };
    if !cfg!(all(target_os = "linux", target_arch = "x86_64")) {
        bail!(
            "ready-made parts exist for x86-64 Linux only; this is {} {}: install libtorch {TORCH_VERSION} and set LIBTORCH to its folder",
            env::consts::ARCH,
            env::consts::OS
        );
    }
    remove_stale(root)?;
    let compiler = Compiler::find()?;
    let python = Python::find()?;
    let mut janitor = Janitor::create(root.join(format!("{PARTIAL_PREFIX}{}", std::process::id())))?;
    let free = python.free_disk_bytes(janitor.folder())?;
    if free < disk_gb * GB {
        bail!(
            "{} has {:.1} GB free, set-up needs {disk_gb} GB: free some space and call again",
            root.display(),
            free as f64 / GB as f64
        );
    }
    compiler.check(&mut janitor)?;

    eprintln!("xtask: making libtorch {TORCH_VERSION} in {} (once; downloads {download})", folder.display());
    for (index, wheel) in wheels.iter().enumerate() {
        eprintln!("xtask: {}/{} {} {}", index + 1, wheels.len(), wheel.name, wheel.version);
        wheel.fetch(&python, &mut janitor)?;
    }
    complete(&python, &compiler, &mut janitor, wheels)?;
    janitor.keep_as(folder)
}

/// What the wheels lack: a `libtorch.so` that asks for no Python and no CUDA, and the version that the bindings check.
fn complete(python: &Python, compiler: &Compiler, janitor: &mut Janitor, wheels: &[Wheel]) -> anyhow::Result<()> {
    let partial = janitor.folder().to_owned();
    if !partial.join("lib/libtorch.so").exists() {
        compiler.link_libtorch(janitor)?;
    }
    // Loading shows, before a long build, whether the C library here is new enough for these files.
    let mut load = python.command();
    load.args(["-c", "import ctypes, sys\ntry: ctypes.CDLL(sys.argv[1])\nexcept OSError as error: sys.exit(str(error))"]);
    load.arg(partial.join("lib/libtorch.so"));
    if let Err(failure) = python.run(janitor, &mut load)? {
        bail!("libtorch does not load here: {failure}; it needs glibc 2.28 or newer, or a libtorch of your own in LIBTORCH");
    }
    let version = wheels.iter().find(|wheel| wheel.name == "torch").map_or(TORCH_VERSION, |wheel| wheel.version);
    let path = partial.join("build-version");
    fs::write(&path, format!("{version}\n")).with_context(|| format!("cannot write {}", path.display()))
}

/// Left by a set-up whose machine lost power. Called under the lock, so none of them is in use.
fn remove_stale(root: &Path) -> anyhow::Result<()> {
    for entry in fs::read_dir(root).with_context(|| format!("cannot read {}", root.display()))? {
        let path = entry.with_context(|| format!("cannot read {}", root.display()))?.path();
        if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(PARTIAL_PREFIX)) {
            fs::remove_dir_all(&path).with_context(|| format!("cannot remove {}", path.display()))?;
        }
    }
    Ok(())
}

/// The C++ compiler that cargo's builds use too: `CXX`, or `c++`.
struct Compiler {
    words: Vec<String>,
}

impl Compiler {
    fn find() -> anyhow::Result<Self> {
        let named = env::var("CXX").unwrap_or_default();
        let mut words: Vec<String> = named.split_whitespace().map(str::to_owned).collect();
        if words.is_empty() {
            words.push("c++".to_owned());
        }
        let compiler = Self { words };
        match compiler.command().arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status() {
            Ok(status) if status.success() => Ok(compiler),
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(error).context(format!("cannot start {}", compiler.words[0]))
            }
            _ => bail!(
                "the C++ compiler `{}` is missing: install one (Debian, Ubuntu: apt install g++), or set CXX",
                compiler.words[0]
            ),
        }
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.words[0]);
        command.args(&self.words[1..]).stdin(Stdio::null()).stdout(io::stderr()).stderr(Stdio::piped());
        command
    }

    /// Compiles a line of C++17 with the standard library, so that an incomplete compiler is found before the download.
    fn check(&self, janitor: &mut Janitor) -> anyhow::Result<()> {
        let folder = janitor.folder().join("check");
        let (source, object) = (folder.join("check.cpp"), folder.join("check.o"));
        fs::create_dir(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        fs::write(&source, "#include <optional>\nint main() { return std::optional<int>(0).value(); }\n")
            .with_context(|| format!("cannot write {}", source.display()))?;
        self.run(janitor, self.command().args(["-std=c++17", "-c", "-o"]).arg(&object).arg(&source))
            .context("no C++17: install a complete compiler (Debian, Ubuntu: apt install g++)")?;
        if !object.exists() {
            bail!("the C++ compiler `{}` compiles nothing: install a complete one, or set CXX", self.words[0]);
        }
        fs::remove_dir_all(&folder).with_context(|| format!("cannot remove {}", folder.display()))
    }

    fn link_libtorch(&self, janitor: &mut Janitor) -> anyhow::Result<()> {
        let lib = janitor.folder().join("lib");
        let mut link = self.command();
        link.args(["-shared", "-Wl,-soname,libtorch.so", "-Wl,-rpath,$ORIGIN", "-o"]).arg(lib.join("libtorch.so"));
        link.args(["-x", "c++", "/dev/null", "-Wl,--no-as-needed", "-L"]).arg(&lib).args(["-ltorch_cpu", "-lc10"]);
        self.run(janitor, &mut link).context("cannot link libtorch.so")
    }

    fn run(&self, janitor: &mut Janitor, command: &mut Command) -> anyhow::Result<()> {
        let output = janitor.run(command)?;
        if !output.status.success() {
            bail!("{}: {}", self.words[0], Failure::read(&String::from_utf8_lossy(&output.stderr)));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder_with(version: &str, files: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for file in files {
            let path = folder.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        fs::write(folder.path().join("build-version"), version).unwrap();
        folder
    }

    #[test]
    fn complete_folder_of_the_right_version_is_taken() {
        check_own(folder_with("2.13.0\n", &NEEDED).path(), false).unwrap();
        check_own(folder_with("2.13.0+cu130\n", &NEEDED).path(), false).unwrap();
    }

    #[test]
    fn other_version_is_named_with_the_remedy() {
        let error = check_own(folder_with("2.12.1\n", &NEEDED).path(), false).unwrap_err().to_string();
        assert!(
            error.starts_with("wrong version:") && error.contains("2.12.1") && error.contains("remove the folder"),
            "{error}"
        );
    }

    #[test]
    fn each_missing_file_is_named() {
        for missing in NEEDED {
            let rest: Vec<&str> = NEEDED.into_iter().filter(|file| *file != missing).collect();
            let error = check_own(folder_with("2.13.0", &rest).path(), false).unwrap_err().to_string();
            assert!(error.contains(missing), "{error}");
        }
    }

    #[test]
    fn cpu_folder_is_refused_where_cuda_is_asked_for() {
        assert!(check_own(folder_with("2.13.0", &NEEDED).path(), true).is_err());
    }

    #[test]
    fn value_of_the_cargo_config_is_not_the_users() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().canonicalize().unwrap();
        assert!(is_own(&path, &path.join(".libtorch")));
        assert!(!is_own(&path, &path.join("libtorch")));
        assert!(!is_own(&path, Path::new("/opt/.libtorch")));
    }

    #[test]
    fn leftovers_go_and_nothing_else() {
        let root = tempfile::tempdir().unwrap();
        for name in [".libtorch-partial-1", ".libtorch", "src"] {
            fs::create_dir(root.path().join(name)).unwrap();
        }
        remove_stale(root.path()).unwrap();
        let mut left: Vec<_> = fs::read_dir(root.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, [".libtorch", "src"]);
    }
}
