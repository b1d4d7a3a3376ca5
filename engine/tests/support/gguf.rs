//! GGUF files for tests, well-formed or not.

/// Writes the parts of a GGUF header one after the other.
#[derive(Clone, Default)]
pub struct Gguf(pub Vec<u8>);

impl Gguf {
    pub fn new(tensors: u64, keys: u64) -> Gguf {
        Gguf(b"GGUF".to_vec()).u32(3).u64(tensors).u64(keys)
    }

    pub fn u32(mut self, value: u32) -> Gguf {
        self.0.extend_from_slice(&value.to_le_bytes());
        self
    }

    pub fn u64(mut self, value: u64) -> Gguf {
        self.0.extend_from_slice(&value.to_le_bytes());
        self
    }

    pub fn text(mut self, value: &[u8]) -> Gguf {
        self = self.u64(value.len() as u64);
        self.0.extend_from_slice(value);
        self
    }

    pub fn key(self, key: &str, kind: u32) -> Gguf {
        self.text(key.as_bytes()).u32(kind)
    }

    pub fn tensor(self, name: &str, sizes: &[u64], kind: u32, offset: u64) -> Gguf {
        let this = self.text(name.as_bytes()).u32(sizes.len() as u32);
        sizes.iter().fold(this, |this, &size| this.u64(size)).u32(kind).u64(offset)
    }

    /// Padding to 32, and this many bytes of data.
    pub fn data(mut self, data: usize) -> Vec<u8> {
        self.0.resize(self.0.len().next_multiple_of(32) + data, 0);
        self.0
    }
}
