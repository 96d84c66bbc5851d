//! The wheels that libtorch is made from: pinned, downloaded by pip, checked, unpacked in part.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use sha2::{Digest, Sha256};

use crate::janitor::Janitor;
use crate::python::Python;

/// The version that the `tch` crate in `Cargo.toml` checks for.
pub const TORCH_VERSION: &str = "2.13.0";

/// One wheel, and what of it goes where. A source that ends in `/` names all files below it.
pub struct Wheel {
    pub name: &'static str,
    pub version: &'static str,
    pub sha256: &'static str,
    pub parts: &'static [(&'static str, &'static str)],
}

const INTO_LIB: &[(&str, &str)] = &[("nvidia/cu13/lib/", "lib/")];

const TORCH_SHA256: &str = "796633c4cdf0fe2cdced72d8f88f22e73dbcfce83132763162f6d4bff13b820b";
const RUNTIME_SHA256: &str = "7f82250d7782aa23b6cfe765ecc7db554bd3c2870c43f3d1821f1d18aebf0548";
const CUPTI_SHA256: &str = "4eb01c08e859bf924d222250d2e8f8b8ff6d3db4721288cf35d14252a4d933c8";

/// For computers without a GPU. This wheel's `libtorch_cpu.so` links the two CUDA libraries all the same.
pub const CPU: &[Wheel] = &[
    Wheel {
        name: "nvidia-cuda-runtime",
        version: "13.0.96",
        sha256: RUNTIME_SHA256,
        parts: &[("nvidia/cu13/lib/libcudart.so.13", "lib/libcudart.so.13")],
    },
    Wheel {
        name: "nvidia-cuda-cupti",
        version: "13.0.85",
        sha256: CUPTI_SHA256,
        parts: &[("nvidia/cu13/lib/libcupti.so.13", "lib/libcupti.so.13")],
    },
    Wheel {
        name: "torch",
        version: TORCH_VERSION,
        sha256: TORCH_SHA256,
        parts: &[
            ("torch/include/", "include/"),
            ("torch/lib/libc10.so", "lib/libc10.so"),
            ("torch/lib/libgomp.so.1", "lib/libgomp.so.1"),
            ("torch/lib/libtorch_cpu.so", "lib/libtorch_cpu.so"),
        ],
    },
];

/// With CUDA: the whole `lib/` of torch and the packages that its metadata require, all in one folder, which every one of these
/// libraries has in its run path (`$ORIGIN`).
pub const CUDA: &[Wheel] = &[
    Wheel { name: "nvidia-cuda-runtime", version: "13.0.96", sha256: RUNTIME_SHA256, parts: INTO_LIB },
    Wheel { name: "nvidia-cuda-cupti", version: "13.0.85", sha256: CUPTI_SHA256, parts: INTO_LIB },
    Wheel {
        name: "nvidia-cuda-nvrtc",
        version: "13.0.88",
        sha256: "ad9b6d2ead2435f11cbb6868809d2adeeee302e9bb94bcf0539c7a40d80e8575",
        parts: INTO_LIB,
    },
    Wheel {
        name: "nvidia-nvtx",
        version: "13.0.85",
        sha256: "4936d1d6780fbe68db454f5e72a42ff64d1fd6397df9f363ae786930fd5c1cd4",
        parts: INTO_LIB,
    },
    Wheel {
        name: "nvidia-nvjitlink",
        version: "13.5.37",
        sha256: "280d7cb9649704145f074b8dbde500de04ce02d0872e066e20a83c17bcaa93eb",
        parts: INTO_LIB,
    },
    Wheel {
        name: "nvidia-cublas",
        version: "13.1.1.3",
        sha256: "37936a16db8fe4ac1f065c2139360608a543a09275cb1a1af612e08cfa065436",
        parts: INTO_LIB,
    },
    Wheel {
        name: "nvidia-cufft",
        version: "12.0.0.61",
        sha256: "6c44f692dce8fd5ffd3e3df134b6cdb9c2f72d99cf40b62c32dde45eea9ddad3",
        parts: INTO_LIB,
    },
    Wheel {
        name: "nvidia-cufile",
        version: "1.15.1.6",
        sha256: "08a3ecefae5a01c7f5117351c64f17c7c62efa5fffdbe24fc7d298da19cd0b44",
        parts: INTO_LIB,
    },
    Wheel {
        name: "nvidia-curand",
        version: "10.4.0.35",
        sha256: "1aee33a5da6e1db083fe2b90082def8915f30f3248d5896bcec36a579d941bfc",
        parts: INTO_LIB,
    },
    Wheel {
        name: "nvidia-cusolver",
        version: "12.0.4.66",
        sha256: "0a759da5dea5c0ea10fd307de75cdeb59e7ea4fcb8add0924859b944babf1112",
        parts: INTO_LIB,
    },
    Wheel {
        name: "nvidia-cusparse",
        version: "12.6.3.3",
        sha256: "2b3c89c88d01ee0e477cb7f82ef60a11a4bcd57b6b87c33f789350b59759360b",
        parts: INTO_LIB,
    },
    Wheel {
        name: "nvidia-cusparselt-cu13",
        version: "0.8.1",
        sha256: "786ce87568c303fadb5afcc7102d454cd3040d75f6f8626f5db460d1871f4dd0",
        parts: &[("nvidia/cusparselt/lib/", "lib/")],
    },
    Wheel {
        name: "nvidia-nccl-cu13",
        version: "2.29.7",
        sha256: "edd81538446786ec3b73972543e53bb43bcaf0bfc8ef76cb679fcc390ffe136d",
        parts: &[("nvidia/nccl/lib/", "lib/")],
    },
    Wheel {
        name: "nvidia-nvshmem-cu13",
        version: "3.4.5",
        sha256: "290f0a2ee94c9f3687a02502f3b9299a9f9fe826e6d0287ee18482e78d495b80",
        parts: &[("nvidia/nvshmem/lib/", "lib/")],
    },
    Wheel {
        name: "nvidia-cudnn-cu13",
        version: "9.20.0.48",
        sha256: "0c45dd8eeb50b603f07995b1b300c62ffe6a1980482b82b3bcf94a4ca9d49304",
        parts: &[("nvidia/cudnn/lib/", "lib/")],
    },
    Wheel {
        name: "torch",
        version: TORCH_VERSION,
        sha256: TORCH_SHA256,
        parts: &[("torch/include/", "include/"), ("torch/lib/", "lib/")],
    },
];

/// The tags under which these wheels are published. Pip takes each one literally, and expands only the last to older ones.
const PLATFORMS: [&str; 6] = [
    "manylinux_2_28_x86_64",
    "manylinux_2_27_x86_64",
    "manylinux_2_25_x86_64",
    "manylinux_2_18_x86_64",
    "manylinux_2_17_x86_64",
    "manylinux2014_x86_64",
];

impl Wheel {
    /// Downloads, checks and unpacks this wheel into the janitor's folder, and removes the download.
    pub fn fetch(&self, python: &Python, janitor: &mut Janitor) -> anyhow::Result<()> {
        let downloads = janitor.folder().join("download");
        fs::create_dir_all(&downloads).with_context(|| format!("cannot make {}", downloads.display()))?;
        let wheel = self.download(python, janitor, &downloads)?;
        check(&wheel, self.sha256)?;
        self.unpack(python, janitor, &wheel)?;
        fs::remove_dir_all(&downloads).with_context(|| format!("cannot remove {}", downloads.display()))
    }

    fn download(&self, python: &Python, janitor: &mut Janitor, into: &Path) -> anyhow::Result<PathBuf> {
        let mut pip = python.command();
        pip.args(["-m", "pip", "download", "--disable-pip-version-check", "--retries", "2"]);
        pip.args(["--no-deps", "--only-binary=:all:", "--python-version", "3.12", "--implementation", "cp", "--abi", "cp312"]);
        pip.args(PLATFORMS.iter().flat_map(|platform| ["--platform", platform]));
        pip.arg("--dest").arg(into).arg(format!("{}=={}", self.name, self.version));
        // Pip's own temporary copy then lies on the disk that was checked for space, and goes with the folder.
        pip.env("TMPDIR", into);
        if let Err(failure) = python.run(janitor, &mut pip)? {
            bail!("cannot download {} {}: {failure}", self.name, self.version);
        }
        fs::read_dir(into)
            .with_context(|| format!("cannot read {}", into.display()))?
            .filter_map(|entry| Some(entry.ok()?.path()))
            .find(|path| path.extension().is_some_and(|extension| extension == "whl"))
            .with_context(|| format!("pip downloaded {} {}, but left no wheel", self.name, self.version))
    }

    fn unpack(&self, python: &Python, janitor: &mut Janitor, wheel: &Path) -> anyhow::Result<()> {
        let mut unpack = python.command();
        unpack.args(["-c", include_str!("unpack.py")]).arg(wheel).arg(janitor.folder());
        unpack.arg(serde_json::to_string(self.parts).context("cannot write the list of parts")?);
        if let Err(failure) = python.run(janitor, &mut unpack)? {
            bail!("cannot unpack {} {}: {failure}", self.name, self.version);
        }
        Ok(())
    }
}

/// Compares a file with its pinned SHA-256.
fn check(path: &Path, expected: &str) -> anyhow::Result<()> {
    let name = path.file_name().unwrap_or_default().display();
    let found = sha256(path).with_context(|| format!("cannot read {}", path.display()))?;
    if found != expected {
        bail!(
            "wrong checksum: {name} has SHA-256 {found}, expected {expected}; the download is damaged or the package index \
             serves another file: run `python3 -m pip cache purge` and call again"
        );
    }
    Ok(())
}

fn sha256(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mut digest = Sha256::new();
    let mut block = vec![0; 1 << 20];
    loop {
        match file.read(&mut block)? {
            0 => return Ok(digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect()),
            read => digest.update(&block[..read]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksum_of_the_standard_example() {
        // FIPS 180-2, appendix B.1.
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("abc.whl");
        fs::write(&path, "abc").unwrap();
        check(&path, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad").unwrap();
        let error = check(&path, CPU[0].sha256).unwrap_err().to_string();
        assert!(error.contains("wrong checksum: abc.whl") && error.contains(CPU[0].sha256), "{error}");
        assert_eq!(error.lines().count(), 1);
    }

    #[test]
    fn unpacks_only_the_named_parts() {
        let outer = tempfile::tempdir().unwrap();
        let wheel = outer.path().join("w.whl");
        let python = Python::find().unwrap();
        let write = "import sys, zipfile\nz = zipfile.ZipFile(sys.argv[1], 'w')\n\
            for n in ['torch/include/a/b.h', 'torch/lib/libc10.so', 'torch/lib/other.so']: z.writestr(n, n)\nz.close()";
        assert!(python.command().args(["-c", write]).arg(&wheel).status().unwrap().success());

        let mut janitor = Janitor::create(outer.path().join("partial")).unwrap();
        let parts = &[("torch/include/", "include/"), ("torch/lib/libc10.so", "lib/libc10.so")];
        let pinned = Wheel { name: "torch", version: "0", sha256: "", parts };
        pinned.unpack(&python, &mut janitor, &wheel).unwrap();
        let into = janitor.folder();
        assert_eq!(fs::read_to_string(into.join("include/a/b.h")).unwrap(), "torch/include/a/b.h");
        assert_eq!(fs::read_dir(into.join("lib")).unwrap().count(), 1);

        let missing = Wheel { parts: &[("torch/lib/libgone.so", "lib/libgone.so")], ..pinned };
        let error = missing.unpack(&python, &mut janitor, &wheel).unwrap_err().to_string();
        assert_eq!(error, "cannot unpack torch 0: w.whl has no torch/lib/libgone.so");
    }
}
