//! Who holds a lease, each field with whether it was proved.

/// One field of a holder: what was said, and whether anything but the client's word stands behind it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Claim {
    /// The text in its normal form (docs/reference/holder.md); no control characters.
    pub value: String,
    /// True if the server itself observed it (the peer's address, a certificate's name), false if the client said so.
    pub proved: bool,
}

/// The holder of a lease in normal form. The server normalizes before it decides; the allocator only keeps and compares.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Holder {
    /// Account name, `DOMAIN\user` as `user@domain`.
    pub user: Option<Claim>,
    /// Host name, lowercase, without a trailing dot.
    pub host: Option<Claim>,
    /// X display, terminal or console of the session.
    pub display: Option<Claim>,
    /// Kind of session: `local`, `ssh`, `rdp`, `x11`, `wayland`, `batch`.
    pub session: Option<Claim>,
    /// The client's network address as the server sees it.
    pub address: Option<Claim>,
    /// Container id or name.
    pub container: Option<Claim>,
    /// Process, as `pid` or `pid:name`.
    pub process: Option<Claim>,
    /// Batch job, such as `slurm:48213`.
    pub job: Option<Claim>,
    /// Project to which the use is booked.
    pub project: Option<Claim>,
}
