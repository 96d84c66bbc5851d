//! Numpy's `.npy` format, versions 1 to 3 (NEP 1): magic, a Python dict literal as header, raw elements.
//!
//! The one crate for it brings a parser generator along for the header's single line, and an unmaintained zip for `.npz`.

use std::fmt;

/// Sizes along each axis, printed as numpy prints them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shape(pub Vec<usize>);

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(")?;
        for (axis, size) in self.0.iter().enumerate() {
            write!(f, "{}{size}", if axis == 0 { "" } else { ", " })?;
        }
        f.write_str(if self.0.len() == 1 { ",)" } else { ")" })
    }
}

/// The element types that CALVIN's files hold, and those that numpy's defaults make of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dtype {
    U8,
    I32,
    I64,
    F32,
    F64,
    Object,
}

impl Dtype {
    /// Reads numpy's spelling; the error is a sentence.
    fn parse(descr: &str) -> Result<Self, String> {
        match descr {
            "|u1" => Ok(Self::U8),
            "<i4" => Ok(Self::I32),
            "<i8" => Ok(Self::I64),
            "<f4" => Ok(Self::F32),
            "<f8" => Ok(Self::F64),
            "|O" => Ok(Self::Object),
            big if big.starts_with('>') => Err(format!("dtype '{big}' is big-endian, which is not read: save it little-endian")),
            other => Err(format!("dtype '{other}' is not one that CALVIN writes")),
        }
    }

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::U8 => "uint8",
            Self::I32 => "int32",
            Self::I64 => "int64",
            Self::F32 => "float32",
            Self::F64 => "float64",
            Self::Object => "object",
        }
    }

    const fn size(self) -> usize {
        match self {
            Self::U8 => 1,
            Self::I32 | Self::F32 => 4,
            Self::I64 | Self::F64 => 8,
            Self::Object => 0,
        }
    }
}

/// What the header says, and the bytes behind it.
#[derive(Debug)]
pub(crate) struct Array<'a> {
    pub dtype: Dtype,
    pub shape: Shape,
    fortran_order: bool,
    /// Elements in the file's own order, or the pickle of an object array.
    pub data: &'a [u8],
}

impl<'a> Array<'a> {
    /// Reads a whole `.npy` file; the error is a sentence.
    pub(crate) fn parse(bytes: &'a [u8]) -> Result<Self, String> {
        let (header, data) = split(bytes)?;
        let header = Header::parse(header)?;
        let dtype = Dtype::parse(header.descr)?;
        let shape = Shape(header.shape);
        if dtype != Dtype::Object {
            let elements = shape.0.iter().try_fold(dtype.size(), |product, &size| product.checked_mul(size));
            let expected = elements.ok_or_else(|| format!("shape {shape} is larger than memory"))?;
            if data.len() != expected {
                return Err(format!(
                    "{} bytes of elements, {expected} expected for {} of shape {shape}",
                    data.len(),
                    dtype.name()
                ));
            }
        }
        Ok(Self { dtype, shape, fortran_order: header.fortran_order, data })
    }

    /// Elements of `uint8`, the last axis fastest.
    pub(crate) fn u8s(&self) -> Option<Vec<u8>> {
        (self.dtype == Dtype::U8).then(|| self.in_c_order(self.data.to_vec()))
    }

    /// Elements of either float type, the last axis fastest.
    pub(crate) fn f64s(&self) -> Option<Vec<f64>> {
        let values = match self.dtype {
            Dtype::F32 => self.words().map(|word| f64::from(f32::from_le_bytes(word))).collect(),
            Dtype::F64 => self.words().map(f64::from_le_bytes).collect(),
            _ => return None,
        };
        Some(self.in_c_order(values))
    }

    /// Elements of either float type as `f32`, the last axis fastest.
    pub(crate) fn f32s(&self) -> Option<Vec<f32>> {
        let values = match self.dtype {
            Dtype::F32 => self.words().map(f32::from_le_bytes).collect(),
            Dtype::F64 => self.words().map(|word| f64::from_le_bytes(word) as f32).collect(),
            _ => return None,
        };
        Some(self.in_c_order(values))
    }

    /// Elements of either integer type, the last axis fastest.
    pub(crate) fn i64s(&self) -> Option<Vec<i64>> {
        let values = match self.dtype {
            Dtype::I32 => self.words().map(|word| i64::from(i32::from_le_bytes(word))).collect(),
            Dtype::I64 => self.words().map(i64::from_le_bytes).collect(),
            _ => return None,
        };
        Some(self.in_c_order(values))
    }

    fn words<const N: usize>(&self) -> impl Iterator<Item = [u8; N]> {
        self.data.as_chunks::<N>().0.iter().copied()
    }

    fn in_c_order<T: Copy>(&self, values: Vec<T>) -> Vec<T> {
        let sizes = &self.shape.0;
        if !self.fortran_order || sizes.len() < 2 || values.is_empty() {
            return values;
        }
        let strides: Vec<usize> = sizes
            .iter()
            .scan(1, |stride, &size| {
                let here = *stride;
                *stride *= size;
                Some(here)
            })
            .collect();
        let mut index = vec![0; sizes.len()];
        let mut ordered = Vec::with_capacity(values.len());
        for _ in 0..values.len() {
            let offset: usize = index.iter().zip(&strides).map(|(i, stride)| i * stride).sum();
            ordered.push(values[offset]);
            for axis in (0..sizes.len()).rev() {
                index[axis] += 1;
                if index[axis] < sizes[axis] {
                    break;
                }
                index[axis] = 0;
            }
        }
        ordered
    }
}

/// The header's text and what follows it.
fn split(bytes: &[u8]) -> Result<(&str, &[u8]), String> {
    const MAGIC: &[u8] = b"\x93NUMPY";
    let short = || format!("it ends in the header, after {} bytes", bytes.len());
    let rest = bytes.strip_prefix(MAGIC).ok_or("it does not begin as an npy file")?;
    let (&[major, _minor], rest) = rest.split_first_chunk::<2>().ok_or_else(short)?;
    let (length, rest) = match major {
        1 => rest.split_first_chunk::<2>().map(|(length, rest)| (usize::from(u16::from_le_bytes(*length)), rest)),
        2 | 3 => rest.split_first_chunk::<4>().map(|(length, rest)| (u32::from_le_bytes(*length) as usize, rest)),
        _ => return Err(format!("npy version {major} is not known")),
    }
    .ok_or_else(short)?;
    let (header, data) = rest.split_at_checked(length).ok_or_else(short)?;
    Ok((str::from_utf8(header).map_err(|_| "the npy header is no text")?, data))
}

struct Header<'a> {
    descr: &'a str,
    fortran_order: bool,
    shape: Vec<usize>,
}

impl<'a> Header<'a> {
    /// `{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }`, keys in any order.
    fn parse(text: &'a str) -> Result<Self, String> {
        let bad = || format!("the npy header {:?} is not read", text.trim_end());
        let (mut descr, mut fortran_order, mut shape) = (None, None, None);
        let mut rest = text.trim().strip_prefix('{').and_then(|text| text.strip_suffix('}')).ok_or_else(bad)?.trim_start();
        while !rest.is_empty() {
            let (key, value) = quoted(rest).ok_or_else(bad)?;
            let value = value.trim_start().strip_prefix(':').ok_or_else(bad)?.trim_start();
            rest = match key {
                "descr" => {
                    let (text, rest) = quoted(value).ok_or("a structured dtype is not one that CALVIN writes")?;
                    descr = Some(text);
                    rest
                }
                "fortran_order" => {
                    let (word, rest) = value.split_at(value.find([',', ' ']).unwrap_or(value.len()));
                    fortran_order = match word {
                        "True" => Some(true),
                        "False" => Some(false),
                        _ => return Err(bad()),
                    };
                    rest
                }
                "shape" => {
                    let (sizes, rest) = value.strip_prefix('(').and_then(|text| text.split_once(')')).ok_or_else(bad)?;
                    let sizes = sizes.split(',').map(str::trim).filter(|size| !size.is_empty()).map(str::parse);
                    shape = Some(sizes.collect::<Result<Vec<usize>, _>>().map_err(|_| bad())?);
                    rest
                }
                _ => return Err(bad()),
            };
            rest = rest.trim_start();
            rest = rest.strip_prefix(',').unwrap_or(rest).trim_start();
        }
        Ok(Self {
            descr: descr.ok_or_else(bad)?,
            fortran_order: fortran_order.ok_or_else(bad)?,
            shape: shape.filter(|shape| shape.len() <= 32).ok_or_else(bad)?,
        })
    }
}

fn quoted(text: &str) -> Option<(&str, &str)> {
    let quote = text.chars().next().filter(|quote| matches!(quote, '\'' | '"'))?;
    text[1..].split_once(quote)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn npy(header: &str, data: &[u8]) -> Vec<u8> {
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        bytes.extend(u16::try_from(header.len()).unwrap().to_le_bytes());
        bytes.extend(header.as_bytes());
        bytes.extend(data);
        bytes
    }

    #[test]
    fn fortran_order_is_the_transpose() {
        // numpy: np.asfortranarray([[0, 1, 2], [3, 4, 5]]).tobytes('A') == bytes([0, 3, 1, 4, 2, 5])
        let bytes = npy("{'descr': '|u1', 'fortran_order': True, 'shape': (2, 3), }\n", &[0, 3, 1, 4, 2, 5]);
        assert_eq!(Array::parse(&bytes).unwrap().u8s().unwrap(), [0, 1, 2, 3, 4, 5]);
    }

    #[test]
    fn big_endian_is_refused_by_name() {
        let bytes = npy("{'descr': '>f4', 'fortran_order': False, 'shape': (1,), }\n", &[0; 4]);
        let error = Array::parse(&bytes).unwrap_err();
        assert!(error.contains("'>f4' is big-endian"), "{error}");
    }

    #[test]
    fn a_size_that_overflows_is_refused() {
        let shape = format!("({0}, {0}, 8)", usize::MAX / 2);
        let bytes = npy(&format!("{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}, }}\n"), &[]);
        assert!(Array::parse(&bytes).unwrap_err().contains("larger than memory"));
    }

    #[test]
    fn shapes_print_as_in_numpy() {
        assert_eq!(Shape(vec![]).to_string(), "()");
        assert_eq!(Shape(vec![15]).to_string(), "(15,)");
        assert_eq!(Shape(vec![200, 200, 3]).to_string(), "(200, 200, 3)");
    }
}
