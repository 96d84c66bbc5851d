//! The U-Net's phases. See [`NetworkConfig::Unet1d`](crate::NetworkConfig::Unet1d) and `net/unet1d.rs` for the network.

use super::modulation::{Modulation, mish_scalar, step_table};
use super::pack::WeightFormat;
use super::program::{Add, Builder, Built, Epilogue, Film, Kernel, Layer, Norm, Parameters, Phase, View, layer, plain};
use crate::{PolicyError, PolicyShape};

/// Sizes of the network.
pub(super) struct Sizes<'a> {
    pub widths: &'a [usize],
    pub kernel: usize,
    pub groups: usize,
    pub step_embed: usize,
    pub shape: PolicyShape,
}

/// A block's input: what its convolutions read, and the same in f32.
#[derive(Clone, Copy)]
struct Signal {
    operand: View,
    /// None where the operand is two signals side by side.
    kept: Option<View>,
}

struct Unet<'a, 'b> {
    builder: &'b mut Builder<'a>,
    parameters: &'b Parameters<'a>,
    sizes: &'b Sizes<'a>,
    phases: Vec<Phase>,
    /// Names of the modulating layers, in the order of the modulation, and the entries so far.
    films: Vec<String>,
    modulation: usize,
}

pub(super) fn build<'a>(
    builder: &mut Builder<'a>,
    parameters: &Parameters<'a>,
    sizes: &Sizes<'a>,
    labels: usize,
) -> Result<Built, PolicyError> {
    let x = builder.view(sizes.shape.horizon, sizes.shape.n_act, false);
    let eps = builder.view(sizes.shape.horizon, sizes.shape.n_act, false);
    let mut unet = Unet { builder, parameters, sizes, phases: Vec::new(), films: Vec::new(), modulation: 0 };
    unet.network(x, eps)?;
    let modulation = modulate(&unet, labels)?;
    Ok(Built { evaluation: unet.phases, x, eps, modulation })
}

impl<'a> Unet<'a, '_> {
    fn network(&mut self, x: View, eps: View) -> Result<(), PolicyError> {
        let (widths, levels) = (self.sizes.widths, self.sizes.widths.len());
        let (rows, deepest) = (|level: usize| self.sizes.shape.horizon >> level, widths[levels - 1]);
        // What each way up reads: the signal from below, then that of the way down. The top level has no such pair.
        let top = self.builder.operand(rows(0), widths[0]);
        let pairs: Vec<View> = (1..levels).map(|level| self.builder.operand(rows(level), 2 * widths[level])).collect();
        let from_below = |level: usize| if level == 0 { top } else { pairs[level - 1].slice(0, widths[level]) };

        let mut signal = Signal { operand: x, kept: Some(x) };
        for (level, &width) in widths.iter().enumerate() {
            let between = self.builder.operand(rows(level), width);
            signal = self.residual(&format!("down_modules.{level}.0"), signal, width, between)?;
            let out = match level {
                0 => self.builder.operand(rows(0), width),
                _ => pairs[level - 1].slice(width, width),
            };
            signal = self.residual(&format!("down_modules.{level}.1"), signal, width, out)?;
            if level + 1 < levels {
                signal = self.halve(&format!("down_modules.{level}.2.conv"), signal.operand, rows(level + 1))?;
            }
        }
        let between = self.builder.operand(rows(levels - 1), deepest);
        signal = self.residual("mid_modules.0", signal, deepest, between)?;
        self.residual("mid_modules.1", signal, deepest, from_below(levels - 1))?;
        for (up, level) in (1..levels).rev().enumerate() {
            let width = widths[level - 1];
            signal = Signal { operand: pairs[level - 1], kept: None };
            let [between, out] = [0, 1].map(|_| self.builder.operand(rows(level), width));
            signal = self.residual(&format!("up_modules.{up}.0"), signal, width, between)?;
            signal = self.residual(&format!("up_modules.{up}.1"), signal, width, out)?;
            self.double(&format!("up_modules.{up}.2.conv"), signal.operand, from_below(level - 1))?;
        }

        let last = self.builder.view(rows(0), widths[0], false);
        let block = self.conv_block("final_conv.0.block", widths[0], top)?;
        let epilogue = Epilogue { norm: Some(block.norm), mish: true, ..plain(last) };
        self.push(Layer { epilogue, ..layer(self.builder.format, top, block.kernel, block.bias, rows(0)) });
        let [weight, bias] = self.parameters.pair("final_conv.1")?;
        let kernel = same(weight, 1, rows(0), self.sizes.shape.n_act, widths[0]);
        self.push(Layer { epilogue: plain(eps), ..layer(WeightFormat::F32, last, kernel, bias, rows(0)) });
        Ok(())
    }

    /// `mish(norm(conv(x)))` modulated, and once more unmodulated, plus the input or a projection of it.
    fn residual(&mut self, name: &str, input: Signal, width: usize, out: View) -> Result<Signal, PolicyError> {
        let rows = input.operand.rows;
        // The first block projects the noisy chunk itself, whose rounding would pass to the output unfiltered.
        let format = if self.phases.is_empty() { WeightFormat::F32 } else { self.builder.format };
        let middle = self.builder.view(rows, width, format == WeightFormat::Bf16);
        let film = Some(Film::Affine(self.modulation));
        self.films.push(format!("{name}.cond_encoder.1"));
        self.modulation += 2 * width;
        let block = self.conv_block(&format!("{name}.blocks.0.block"), width, input.operand)?;
        let epilogue = Epilogue { norm: Some(block.norm), mish: true, film, ..plain(middle) };
        self.push(Layer { epilogue, ..layer(format, input.operand, block.kernel, block.bias, rows) });

        let block = self.conv_block(&format!("{name}.blocks.1.block"), width, middle)?;
        let kept = self.builder.view(rows, width, false);
        let epilogue = Epilogue { norm: Some(block.norm), mish: true, keep: Some(kept), ..plain(out) };
        let mut second = Layer { epilogue, ..layer(format, middle, block.kernel, block.bias, rows) };
        match input.kept.filter(|_| input.operand.channels == width) {
            Some(kept) => second.epilogue.add = Add::Kept(kept),
            None => {
                second.inputs.push(input.operand);
                let (kernel, bias) = self.projection(name, width, input.operand)?;
                (second.skip, second.skip_bias) = (Some((1, kernel)), bias);
                second.epilogue.add = Add::Skip;
            }
        }
        self.push(second);
        Ok(Signal { operand: out, kept: Some(kept) })
    }

    /// What a block adds its input by: a convolution over single rows, or, where the widths are equal, the input itself.
    fn projection(&self, name: &str, width: usize, input: View) -> Result<(Kernel<'a>, Vec<f32>), PolicyError> {
        if input.channels == width {
            let identity = |row: usize, _: usize, channel: usize| if row == channel { 1.0 } else { 0.0 };
            return Ok((Kernel { at: Box::new(identity), ..same(&[], 1, input.rows, width, width) }, vec![0.0; width]));
        }
        let [weight, bias] = self.parameters.pair(&format!("{name}.residual_conv"))?;
        Ok((same(weight, 1, input.rows, width, input.channels), bias.to_vec()))
    }

    fn halve(&mut self, name: &str, input: View, rows: usize) -> Result<Signal, PolicyError> {
        let [weight, bias] = self.parameters.pair(name)?;
        let kernel = Kernel { stride: 2, ..same(weight, 3, rows, input.channels, input.channels) };
        let (out, kept) = (self.builder.operand(rows, input.channels), self.builder.view(rows, input.channels, false));
        let epilogue = Epilogue { keep: Some(kept), ..plain(out) };
        self.push(Layer { epilogue, ..layer(self.builder.format, input, kernel, bias, rows) });
        Ok(Signal { operand: out, kept: Some(kept) })
    }

    /// The transposed convolution with kernel 4, stride 2 and padding 1: even rows are taps 3 and 1 of the row before and the
    /// row itself, odd ones taps 2 and 0 of the row itself and the next.
    fn double(&mut self, name: &str, input: View, out: View) -> Result<(), PolicyError> {
        let [weight, bias] = self.parameters.pair(name)?;
        let width = input.channels;
        let half = |first_row: usize, taps: [usize; 2], shifts: [isize; 2]| Kernel {
            rows_out: input.rows,
            channels_out: width,
            channels_in: width,
            stride: 1,
            shifts: shifts.to_vec(),
            first_row,
            row_step: 2,
            at: Box::new(move |row, tap, channel| weight[(channel * width + row) * 4 + taps[tap]]),
        };
        let even = half(0, [3, 1], [-1, 0]);
        let mut doubled = Layer { epilogue: plain(out), ..layer(self.builder.format, input, even, bias, 2 * input.rows) };
        doubled.kernels.push((0, half(1, [2, 0], [0, 1])));
        self.push(doubled);
        Ok(())
    }

    /// A convolution that keeps the rows, and the normalisation that follows.
    fn conv_block(&self, name: &str, width: usize, input: View) -> Result<ConvBlock<'a>, PolicyError> {
        let [weight, bias] = self.parameters.pair(&format!("{name}.0"))?;
        let [gamma, beta] = self.parameters.pair(&format!("{name}.1"))?;
        Ok(ConvBlock {
            kernel: same(weight, self.sizes.kernel, input.rows, width, input.channels),
            bias,
            norm: Norm { groups: self.sizes.groups, gamma: gamma.to_vec(), beta: beta.to_vec() },
        })
    }

    fn push(&mut self, layer: Layer<'a>) {
        self.phases.push(self.builder.phase(layer));
    }
}

struct ConvBlock<'a> {
    kernel: Kernel<'a>,
    bias: &'a [f32],
    norm: Norm,
}

/// A convolution of PyTorch's `[out, in, taps]` that keeps the rows.
fn same<'a>(weight: &'a [f32], taps: usize, rows: usize, channels_out: usize, channels_in: usize) -> Kernel<'a> {
    Kernel {
        rows_out: rows,
        channels_out,
        channels_in,
        stride: 1,
        shifts: (0..taps as isize).map(|tap| tap - (taps / 2) as isize).collect(),
        first_row: 0,
        row_step: 1,
        at: Box::new(move |row, tap, channel| weight[(row * channels_in + channel) * taps + tap]),
    }
}

/// The modulating layers `[2 channels, step_embed + n_cond]`, one below the other, split into their two parts.
fn modulate(unet: &Unet<'_, '_>, labels: usize) -> Result<Modulation, PolicyError> {
    let (parameters, sizes) = (unet.parameters, unet.sizes);
    let time = step_table(parameters, ["diffusion_step_encoder.1", "diffusion_step_encoder.3"], sizes.step_embed, labels)?;
    let mut modulation = Modulation::new(unet.modulation, sizes.shape.n_cond, labels);
    for name in &unet.films {
        let [weight, bias] = parameters.pair(name)?;
        modulation.add_rows(weight, bias, sizes.step_embed, &time.iter().map(|&v| mish_scalar(v)).collect::<Vec<_>>());
    }
    Ok(modulation)
}
