use super::*;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};

#[test]
fn blocks_are_those_of_fips_197() {
    let Some(cpu) = AesNi::detect() else { return };
    // Appendix C.3.
    let key: [u8; 32] = std::array::from_fn(|at| u8::try_from(at).unwrap());
    let block = 0x0011_2233_4455_6677_8899_aabb_ccdd_eeff_u128.to_be_bytes();
    let mut blocks = [block, [0; 16]];
    cpu.encrypt_blocks(&key, &mut blocks);
    assert_eq!(number(&blocks[0]), 0x8ea2_b7ca_5167_45bf_eafc_4990_4b49_6089);
    let mut swapped = [[0; 16], block];
    cpu.encrypt_blocks(&key, &mut swapped);
    assert_eq!(swapped, [blocks[1], blocks[0]]);
}

/// SP 800-38A, appendix F.1.5: the key of FIPS 197's appendix A.3.
#[test]
fn blocks_are_those_of_sp_800_38a() {
    let Some(cpu) = AesNi::detect() else { return };
    let mut key = [0; 32];
    key[..16].copy_from_slice(&0x603d_eb10_15ca_71be_2b73_aef0_857d_7781_u128.to_be_bytes());
    key[16..].copy_from_slice(&0x1f35_2c07_3b61_08d7_2d98_10a3_0914_dff4_u128.to_be_bytes());
    let mut blocks = [
        0x6bc1_bee2_2e40_9f96_e93d_7e11_7393_172a_u128.to_be_bytes(),
        0xae2d_8a57_1e03_ac9c_9eb7_6fac_45af_8e51_u128.to_be_bytes(),
    ];
    cpu.encrypt_blocks(&key, &mut blocks);
    assert_eq!(number(&blocks[0]), 0xf3ee_d1bd_b5d2_a03c_064b_5a7e_3db1_81f8);
    assert_eq!(number(&blocks[1]), 0x591c_cb10_d410_ed26_dc5b_a74a_3136_2870);
}

/// Whole and partial blocks, groups of four in the hash and strides of eight in the key stream, in every combination.
#[test]
fn every_length_gives_what_ring_gives() {
    let Some(cpu) = AesNi::detect() else { return };
    for len in (0..=300).chain([1023, 1024, 1025, 5000]) {
        for associated_data_len in [0, 1, 15, 16, 17, 63, 64, 65, 80, 127, 128, 136, 200] {
            agree(cpu, len, associated_data_len);
        }
    }
    for associated_data_len in 0..=300 {
        agree(cpu, 32, associated_data_len);
    }
}

fn agree(cpu: AesNi, len: usize, associated_data_len: usize) {
    let mut bytes = Bytes(len as u64 * 1000 + associated_data_len as u64);
    let (key, nonce): ([u8; 32], [u8; 12]) = (bytes.array(), bytes.array());
    let (plaintext, associated_data) = (bytes.many(len), bytes.many(associated_data_len));
    let mut expected = plaintext.clone();
    let ring = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &key).unwrap());
    let expected_tag = ring
        .seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), Aad::from(&associated_data), &mut expected)
        .unwrap();
    let mut buffer = plaintext.clone();
    let tag = cpu.seal(&key, &nonce, &associated_data, &mut buffer);
    assert_eq!((&buffer, &tag[..]), (&expected, expected_tag.as_ref()), "{len} and {associated_data_len} bytes");
    // Every bit of the tag counts, and a message that is refused is not touched.
    for bit in [0, 7, 63, 64, 127] {
        let mut altered = tag;
        altered[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(cpu.open(&key, &nonce, &associated_data, &mut buffer, &altered), Err(TagMismatch));
        assert_eq!(buffer, expected);
    }
    assert_eq!(cpu.open(&key, &nonce, &associated_data, &mut buffer, &tag), Ok(()));
    assert_eq!(buffer, plaintext);
}

fn number(block: &[u8; 16]) -> u128 {
    u128::from_be_bytes(*block)
}

/// Bytes without a pattern, the same for the same seed (SplitMix64).
struct Bytes(u64);

impl Bytes {
    fn next(&mut self) -> u8 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed.to_be_bytes()[0]
    }

    fn array<const N: usize>(&mut self) -> [u8; N] {
        std::array::from_fn(|_| self.next())
    }

    fn many(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.next()).collect()
    }
}
