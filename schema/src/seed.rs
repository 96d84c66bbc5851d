/// An independent seed for one purpose, so that adding a consumer changes no other stream (SplitMix64's finaliser over an
/// FNV-1a hash of the purpose).
pub fn derive_seed(seed: u64, purpose: &str) -> u64 {
    let hash = purpose.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
    let mut z = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(hash);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::derive_seed;

    #[test]
    fn streams_differ_by_seed_and_by_purpose() {
        let all: std::collections::HashSet<u64> =
            (0..1000).flat_map(|seed| ["start", "expert", "decoder"].map(|p| derive_seed(seed, p))).collect();
        assert_eq!(all.len(), 3000);
    }
}
