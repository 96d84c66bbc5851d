//! Small vector algebra of the demonstrators.

/// `a + b`.
pub(super) fn add(a: [f32; 3], b: [f32; 3]) -> [f32; 3] {
    std::array::from_fn(|i| a[i] + b[i])
}

/// `factor a`.
pub(super) fn scale(a: [f32; 3], factor: f32) -> [f32; 3] {
    a.map(|entry| entry * factor)
}

/// Euclidean distance.
pub(super) fn distance(a: [f32; 3], b: [f32; 3]) -> f32 {
    (0..3).map(|i| (a[i] - b[i]).powi(2)).sum::<f32>().sqrt()
}

/// An angle in `[-pi, pi)`.
pub(super) fn wrap(angle: f32) -> f32 {
    (angle + std::f32::consts::PI).rem_euclid(std::f32::consts::TAU) - std::f32::consts::PI
}

/// The axes of a body with extrinsic x-y-z Euler angles `rpy`, world frame: its local x, y and z.
pub(super) fn axes([roll, pitch, yaw]: [f32; 3]) -> [[f32; 3]; 3] {
    let ((sr, cr), (sp, cp), (sy, cy)) = (roll.sin_cos(), pitch.sin_cos(), yaw.sin_cos());
    [
        [cy * cp, sy * cp, -sp],
        [cy * sp * sr - sy * cr, sy * sp * sr + cy * cr, cp * sr],
        [cy * sp * cr + sy * sr, sy * sp * cr - cy * sr, cp * cr],
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_are_the_columns_of_the_rotation() {
        let rpy = [0.3, -0.7, 2.1];
        let rotation = nalgebra::Rotation3::from_euler_angles(rpy[0], rpy[1], rpy[2]);
        for (axis, column) in axes(rpy).iter().zip(rotation.matrix().column_iter()) {
            for (a, b) in axis.iter().zip(column.iter()) {
                assert!((a - b).abs() < 1e-6);
            }
        }
    }
}
