//! GPU time by timestamps: a lap is what one measured pass dispatched, the time between its
//! submissions left out.

/// Timestamps that fit one query set: two a compute pass.
const QUERIES: u32 = 1024;

pub(super) struct Clock {
    queries: wgpu::QuerySet,
    resolved: wgpu::Buffer,
    /// Nanoseconds of a tick.
    period: f64,
    used: u32,
    /// The first query of each lap.
    laps: Vec<u32>,
}

/// The commands that fetch the laps, and what their words mean.
pub(super) struct Laps {
    pub(super) commands: wgpu::CommandBuffer,
    pub(super) staging: wgpu::Buffer,
    pub(super) times: Times,
}

/// How timestamps become times of laps.
pub(super) struct Times {
    period: f64,
    laps: Vec<u32>,
}

impl Clock {
    /// Laps of one compute pass each that fit.
    pub(super) const LAPS: usize = QUERIES as usize / 2;

    /// A clock that stands still; none without the feature.
    pub(super) fn new(device: &wgpu::Device, queue: &wgpu::Queue) -> Option<Clock> {
        device.features().contains(wgpu::Features::TIMESTAMP_QUERY).then(|| Clock {
            queries: device.create_query_set(&wgpu::QuerySetDescriptor {
                label: None,
                ty: wgpu::QueryType::Timestamp,
                count: QUERIES,
            }),
            resolved: device.create_buffer(&wgpu::BufferDescriptor {
                label: None,
                size: u64::from(QUERIES) * 8,
                usage: wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC,
                mapped_at_creation: false,
            }),
            period: queue.get_timestamp_period().into(),
            used: 0,
            laps: Vec::new(),
        })
    }

    #[cfg(test)]
    pub(super) fn runs(&self) -> bool {
        !self.laps.is_empty()
    }

    /// Forgets what was timed.
    pub(super) fn stop(&mut self) {
        self.used = 0;
        self.laps.clear();
    }

    pub(super) fn start_lap(&mut self) {
        self.laps.push(self.used);
    }

    /// The timestamps of one more compute pass, if a lap runs.
    pub(super) fn tick(&mut self) -> Option<wgpu::ComputePassTimestampWrites<'_>> {
        if self.laps.is_empty() {
            return None;
        }
        let first = self.used;
        // Counted even where it does not fit, so that the end knows.
        self.used += 2;
        (self.used <= QUERIES).then(|| wgpu::ComputePassTimestampWrites {
            query_set: &self.queries,
            beginning_of_pass_write_index: Some(first),
            end_of_pass_write_index: Some(first + 1),
        })
    }

    /// Stops; none where no pass was timed, or more than fit.
    pub(super) fn end(&mut self, device: &wgpu::Device) -> Option<Laps> {
        let (used, laps) = (std::mem::take(&mut self.used), std::mem::take(&mut self.laps));
        if used == 0 || used > QUERIES {
            return None;
        }
        let bytes = u64::from(used) * 8;
        let staging = device.create_buffer(&wgpu::BufferDescriptor {
            label: None,
            size: bytes,
            usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        let mut encoder = device.create_command_encoder(&Default::default());
        encoder.resolve_query_set(&self.queries, 0..used, &self.resolved, 0);
        encoder.copy_buffer_to_buffer(&self.resolved, 0, &staging, 0, bytes);
        let times = Times { period: self.period, laps };
        Some(Laps { commands: encoder.finish(), staging, times })
    }
}

impl Times {
    /// Milliseconds of each lap.
    pub(super) fn of(&self, ticks: &[u64]) -> Vec<f64> {
        let ends = self.laps.iter().skip(1).map(|first| *first as usize).chain([ticks.len()]);
        let laps = self.laps.iter().map(|first| *first as usize).zip(ends);
        let time = |pass: &[u64]| pass[1].saturating_sub(pass[0]) as f64 * self.period / 1e6;
        laps.map(|(first, end)| ticks[first..end].chunks_exact(2).map(time).sum()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lap_is_the_sum_of_its_passes() {
        let times = Times { period: 2.0, laps: vec![0, 4] };
        let ticks = [10, 500_010, 2_000_000, 2_500_000, 7_000_000, 8_000_000];
        assert_eq!(times.of(&ticks), [2.0, 2.0]);
        // Clocks of some drivers step back; that is no time.
        assert_eq!(Times { period: 1.0, laps: vec![0] }.of(&[5, 3]), [0.0]);
    }
}
