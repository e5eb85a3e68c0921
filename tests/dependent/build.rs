fn main() {
    let lib = std::env::var("DEP_SEQLOOM_LIBTORCH_LIB").expect("seqloom tells where libtorch is");
    println!("cargo:rustc-link-arg=-Wl,-rpath,{lib}");
}
