//! What the repository says of itself is true, and the rules of its code are kept: read from the files, without a gateway.

mod docs;
