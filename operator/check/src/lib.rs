//! The independent proof over rendered lines.
