//! Compressed sounds to samples: FLAC, MP3 and Ogg Vorbis, by symphonia.

use super::Audio;
use crate::error::{Error, Result};
use std::io::{Cursor, ErrorKind};
use symphonia::{
    core::{
        audio::SampleBuffer,
        codecs::{CODEC_TYPE_MP3, Decoder},
        errors::Error as Cause,
        formats::FormatReader,
        io::MediaSourceStream,
        probe::Hint,
    },
    default,
};

/// Most samples of a recording, all channels together: a few bytes of silence can claim any length.
const MAX_SAMPLES: usize = 1 << 28;

/// Reads a file of any of these kinds; channels are averaged.
///
/// Encoders begin with samples of their own and fill their last block up: what the file says of both
/// is cut off, as ffmpeg and libsndfile do.
pub(super) fn decode(bytes: &[u8]) -> Result<Audio> {
    let source = MediaSourceStream::new(Box::new(Cursor::new(bytes.to_vec())), Default::default());
    let probe = default::get_probe();
    let opened = probe.format(&Hint::new(), source, &Default::default(), &Default::default());
    let mut file =
        opened.map_err(|_| wrong("is no WAV, FLAC, MP3 or Ogg file that can be read"))?;
    let reader = file.format.as_mut();
    let track = reader.default_track().ok_or_else(|| wrong("has no sound in it"))?;
    let (track, params) = (track.id, track.codec_params.clone());
    let mut decoder = default::get_codecs().make(&params, &Default::default()).map_err(|_| {
        wrong("is compressed in a way that is not read; convert it to FLAC, MP3 or Ogg Vorbis")
    })?;
    let mut sound = Sound::default();
    while let Some(packet) = next(reader)? {
        if packet.track_id() == track {
            sound.add(decoder.as_mut(), &packet)?;
        }
    }
    // An MP3 without an encoder's tag has a length that was guessed from its bytes.
    let told = params.n_frames.filter(|_| params.codec != CODEC_TYPE_MP3 || params.delay.is_some());
    if told.is_some_and(|frames| (sound.samples.len() as u64) < frames) {
        let message = format!("has {} samples of {}", sound.samples.len(), told.unwrap_or(0));
        return Err(wrong(format!("{message}: it is cut off or damaged")));
    }
    Ok(sound.without(params.delay, params.padding))
}

fn wrong(message: impl Into<String>) -> Error {
    Error::input("audio", message)
}

/// The next packet of any track; none at the end of the file.
fn next(reader: &mut dyn FormatReader) -> Result<Option<symphonia::core::formats::Packet>> {
    match reader.next_packet() {
        Ok(packet) => Ok(Some(packet)),
        Err(Cause::IoError(error)) if error.kind() == ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(wrong(format!("is cut off or damaged: {error}"))),
    }
}

/// What has been decoded.
#[derive(Default)]
struct Sound {
    rate: u32,
    samples: Vec<f32>,
}

impl Sound {
    fn add(
        &mut self,
        decoder: &mut dyn Decoder,
        packet: &symphonia::core::formats::Packet,
    ) -> Result<()> {
        let decoded =
            decoder.decode(packet).map_err(|error| wrong(format!("is damaged: {error}")))?;
        let (spec, channels) = (*decoded.spec(), decoded.spec().channels.count());
        if !self.samples.is_empty() && spec.rate != self.rate {
            return Err(wrong("changes its sampling rate; convert it to one"));
        }
        self.rate = spec.rate;
        let mut values = SampleBuffer::<f32>::new(decoded.capacity() as u64, spec);
        values.copy_interleaved_ref(decoded);
        if (self.samples.len() + values.len()) * channels > MAX_SAMPLES {
            return Err(wrong(format!("has more than {MAX_SAMPLES} samples; cut it into parts")));
        }
        let share = 1.0 / channels as f32;
        let frames = values.samples().chunks_exact(channels);
        self.samples.extend(frames.map(|frame| frame.iter().sum::<f32>() * share));
        Ok(())
    }

    fn without(mut self, delay: Option<u32>, padding: Option<u32>) -> Audio {
        let [delay, padding] = [delay, padding].map(|samples| samples.unwrap_or(0) as usize);
        self.samples.truncate(self.samples.len().saturating_sub(padding));
        self.samples.drain(..delay.min(self.samples.len()));
        Audio { rate: self.rate, samples: self.samples }
    }
}
