//! A proxy under a control plane.
