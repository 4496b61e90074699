//! What Kubernetes objects mean for the mesh.
