"""Software-engineering tasks: made, verified, worked on and graded."""
