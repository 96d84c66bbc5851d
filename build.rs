//! Writes libtorch's folder into the programs and tests of this package, so that they start without `LD_LIBRARY_PATH`.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    if std::env::var_os("CARGO_FEATURE_LEARN").is_none() {
        return;
    }
    // Set by the build script of torch-sys, whose `links` key is `tch`; only direct dependents see it.
    if let Ok(lib) = std::env::var("DEP_TCH_LIBTORCH_LIB") {
        println!("cargo:rustc-link-arg=-Wl,-rpath,{lib}");
    }
}
