//! Live training curves: where they go, as every training verb is told.

use anyhow::Result;

#[derive(clap::Args)]
pub struct Args {
    /// Record the curves to this .rrd file
    #[cfg(feature = "view")]
    #[arg(long, value_name = "FILE")]
    rrd: Option<std::path::PathBuf>,
    /// Show the curves live in the rerun viewer at this address, for example rerun+http://127.0.0.1:9876/proxy
    #[cfg(feature = "view")]
    #[arg(long, value_name = "URL", conflicts_with = "rrd")]
    connect: Option<String>,
}

/// Curves, wherever they go. What can't be shown does not stop the training.
pub struct Curves {
    #[cfg(feature = "view")]
    curves: reverie_rerun::Curves,
}

/// Plots of curves; nothing in a program that can't show them.
#[cfg(feature = "view")]
pub type Plots = &'static [reverie_rerun::CurvePlot];

impl Args {
    /// Opens the file or the connection that was asked for.
    #[cfg(feature = "view")]
    pub fn open(&self, title: &str, plots: Plots) -> Result<Curves> {
        let curves = match (&self.rrd, &self.connect) {
            (Some(path), _) => reverie_rerun::Curves::to_file(path, title, plots)?,
            (None, Some(url)) => reverie_rerun::Curves::connect(url, title, plots)?,
            (None, None) => reverie_rerun::Curves::disabled(),
        };
        Ok(Curves { curves })
    }

    #[cfg(not(feature = "view"))]
    pub fn open(&self, _: &str) -> Result<Curves> {
        Ok(Curves {})
    }
}

impl Curves {
    /// Adds a value of each line.
    pub fn point(&mut self, step: u64, values: &[f64]) {
        #[cfg(feature = "view")]
        if let Err(error) = self.curves.point(step, values) {
            tracing::warn!("curves: {error}");
        }
        #[cfg(not(feature = "view"))]
        let _ = (step, values);
    }

    pub fn finish(self) -> Result<()> {
        #[cfg(feature = "view")]
        self.curves.finish()?;
        Ok(())
    }
}
