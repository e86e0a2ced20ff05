//! Where benchmarks and their peers will live, apart from the libraries.
