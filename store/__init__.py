"""What this node knows: versioned configuration, health streams, members, the matrix, and the SQLite file that keeps them."""
