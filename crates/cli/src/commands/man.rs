//! `sinew man`: the manual pages, for packagers.
use std::{fs, path::PathBuf};

use clap::{Args, CommandFactory};

use crate::{
    args::Cli,
    exit::{Failure, Outcome, Status},
};

/// Write the manual pages into a folder
#[derive(Args, Debug)]
pub(crate) struct Man {
    /// The folder; made if it is not there
    #[arg(value_name = "DIR")]
    dir: PathBuf,
}

impl Man {
    pub(crate) fn run(&self) -> Outcome {
        fs::create_dir_all(&self.dir)
            .and_then(|()| clap_mangen::generate_to(Cli::command(), &self.dir))
            .map_err(|err| Failure::file("write", self.dir.display(), err))?;
        Ok(Status::Done)
    }
}
