//! The inputs of a forward pass on a device.

use crate::{
    device::Device,
    published::{Ids, Images},
    tensor::Tensor,
};

impl Images {
    /// Puts the images on a device as one batch `[B, H, W, C]`.
    pub fn upload(&self, device: &Device) -> Tensor {
        let shape = [self.count(), self.height, self.width, self.channels];
        device.upload(&shape, self.values.clone())
    }
}

impl Ids {
    /// Puts the ids on a device.
    pub fn upload(&self, device: &Device) -> Tensor {
        device.upload_u32(&[self.batch, self.tokens], self.values.clone())
    }
}
