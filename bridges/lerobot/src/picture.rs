//! Camera images as PNG, without loss.

use std::io::Cursor;

/// PNG bytes of `height` x `width` pixels, red, green, blue.
pub(crate) fn encode(pixels: &[u8], height: usize, width: usize) -> Result<Vec<u8>, png::EncodingError> {
    let mut bytes = Vec::with_capacity(pixels.len() / 4);
    let mut encoder = png::Encoder::new(&mut bytes, width as u32, height as u32);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    // Rendered frames shrink tenfold even at the fastest setting that looks for matches.
    encoder.set_compression(png::Compression::Fast);
    let mut writer = encoder.write_header()?;
    writer.write_image_data(pixels)?;
    writer.finish()?;
    Ok(bytes)
}

/// The pixels of a PNG, which must be an 8-bit colour image of `height` x `width`; the error says what it is instead.
pub(crate) fn decode(bytes: &[u8], height: usize, width: usize) -> Result<Vec<u8>, String> {
    let damaged = |e: png::DecodingError| format!("not a readable PNG image: {e}");
    let mut reader = png::Decoder::new(Cursor::new(bytes)).read_info().map_err(damaged)?;
    let info = reader.info();
    let (found_width, found_height) = (info.width as usize, info.height as usize);
    if (found_height, found_width) != (height, width) {
        return Err(format!("the image is {found_height} x {found_width} pixels, info.json says {height} x {width}"));
    }
    if (info.color_type, info.bit_depth) != (png::ColorType::Rgb, png::BitDepth::Eight) {
        return Err(format!("the image is {:?} of {:?} bits, 8-bit Rgb expected", info.color_type, info.bit_depth));
    }
    let mut pixels = vec![0; height * width * 3];
    reader.next_frame(&mut pixels).map_err(damaged)?;
    Ok(pixels)
}
