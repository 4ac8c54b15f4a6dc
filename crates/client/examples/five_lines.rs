//! The least that a program does to hold a seat while it runs.
//!
//! ```sh
//! TRIQUEST_LM_SERVER=1588@localhost cargo run -p triquest-client --example five_lines -- 'acme.example+1f3a09c2+AQ...' cad
//! ```
//! A real program embeds its vendor's key as a constant; this one takes it as an argument, so that it can be tried.

use triquest_client::{Client, Error};

fn main() -> Result<(), Error> {
    let mut arguments = std::env::args().skip(1);
    let (Some(vendor), Some(feature)) = (arguments.next(), arguments.next()) else {
        eprintln!("usage: five_lines VERIFIER-KEY FEATURE");
        return Ok(());
    };

    let client = Client::connect(&vendor)?;
    let seat = client.checkout(&feature).on_lost(|why| eprintln!("stop: {why}")).take()?;
    println!("running with a seat of {feature}, lease {}; press Enter to end", seat.lease());
    let _ = std::io::stdin().read_line(&mut String::new());
    drop(seat);

    Ok(())
}
