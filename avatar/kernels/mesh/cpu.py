"""CPU kernels for closest points: native code in Warp that traverses the mesh's hierarchy with packets of 16 points.

Neighbouring points visit nearly the same triangles. One traversal for sixteen of them turns every box and triangle test
into vector instructions, five times faster than a traversal for each (packet traversal, as in ray tracing: Wald et al.,
Interactive Rendering with Coherent Ray Tracing, Computer Graphics Forum 20(3), 2001). CUDA, whose warps run in lockstep
anyway, takes the portable kernels of `portable.py`.
"""

# pyright: reportInvalidTypeForm=false

from avatar.kernels.mesh.types import FADE_START
from avatar.kernels.runtime.launch import get_warp

wp = get_warp()

LANES = 16
"""Points per packet: the floats of a 512-bit vector register; processors with narrower registers use several."""
PACKET = wp.constant(LANES)

CLOSEST = """
    typedef float Lanes __attribute__((ext_vector_type(LANES)));
    typedef int Marks __attribute__((ext_vector_type(LANES)));
    const wp::Mesh& body = *(const wp::Mesh*)mesh;
    const wp::BVH& tree = body.bvh;
    Lanes x, y, z, best, best_v, best_w;
    Marks best_face;
    // One triangle against all lanes, by the regions of Ericson, Real-Time Collision Detection (2005), section 5.1.5.
    // The divisors are the same in every lane: squared edges, and the squared normal, which is va + vb + vc.
    auto test_triangle = [&](int index) __attribute__((always_inline)) {
        const int* corner = body.indices.data + 3ll * index;
        const wp::vec3 a = body.points.data[corner[0]];
        const wp::vec3 ab = body.points.data[corner[1]] - a, ac = body.points.data[corner[2]] - a;
        const float bb = wp::dot(ab, ab), bc = wp::dot(ab, ac), cc = wp::dot(ac, ac);
        const float area = bb * cc - bc * bc, across = bb - 2.0f * bc + cc;
        // a triangle without an area is left with its edges and corners
        const float by_area = area > 1.0e-9f * bb * cc ? 1.0f / area : 0.0f;
        const float by_bb = bb > 0.0f ? 1.0f / bb : 0.0f, by_cc = cc > 0.0f ? 1.0f / cc : 0.0f;
        const float by_across = across > 0.0f ? 1.0f / across : 0.0f;
        const Lanes px = x - a[0], py = y - a[1], pz = z - a[2];
        const Lanes d1 = px * ab[0] + py * ab[1] + pz * ab[2], d2 = px * ac[0] + py * ac[1] + pz * ac[2];
        const Lanes d3 = d1 - bb, d4 = d2 - bc, d5 = d1 - bc, d6 = d2 - cc;
        const Lanes va = d3 * d6 - d5 * d4, vb = d5 * d2 - d1 * d6, vc = d1 * d4 - d3 * d2;
        Lanes v = vb * by_area, w = vc * by_area;
        const Lanes zero = 0.0f, one = 1.0f, along = (d4 - d3) * by_across;
        const Marks on_bc = (va <= 0.0f) & (d4 >= d3) & (d5 >= d6);
        v = on_bc ? one - along : v; w = on_bc ? along : w;
        const Marks on_ac = (vb <= 0.0f) & (d2 >= 0.0f) & (d6 <= 0.0f);
        v = on_ac ? zero : v; w = on_ac ? d2 * by_cc : w;
        const Marks on_ab = (vc <= 0.0f) & (d1 >= 0.0f) & (d3 <= 0.0f);
        v = on_ab ? d1 * by_bb : v; w = on_ab ? zero : w;
        const Marks at_c = (d6 >= 0.0f) & (d5 <= d6);
        v = at_c ? zero : v; w = at_c ? one : w;
        const Marks at_b = (d3 >= 0.0f) & (d4 <= d3);
        v = at_b ? one : v; w = at_b ? zero : w;
        const Marks at_a = (d1 <= 0.0f) & (d2 <= 0.0f);
        v = at_a ? zero : v; w = at_a ? zero : w;
        const Lanes rx = px - v * ab[0] - w * ac[0], ry = py - v * ab[1] - w * ac[1], rz = pz - v * ab[2] - w * ac[2];
        const Lanes squared = rx * rx + ry * ry + rz * rz;
        const Marks nearer = squared < best;
        best = nearer ? squared : best;
        best_v = nearer ? v : best_v; best_w = nearer ? w : best_w;
        best_face = nearer ? (Marks)index : best_face;
    };
    auto box_distance = [&](int node) __attribute__((always_inline)) {
        const wp::BVHPackedNodeHalf low = tree.node_lowers[node], high = tree.node_uppers[node];
        const Lanes zero = 0.0f;
        const Lanes dx = __builtin_elementwise_max(__builtin_elementwise_max(low.x - x, x - high.x), zero);
        const Lanes dy = __builtin_elementwise_max(__builtin_elementwise_max(low.y - y, y - high.y), zero);
        const Lanes dz = __builtin_elementwise_max(__builtin_elementwise_max(low.z - z, z - high.z), zero);
        return dx * dx + dy * dy + dz * dz;
    };
    for (int j = 0; j < LANES; ++j) {
        const wp::vec3 p = points.data[start + (j < count ? j : count - 1)];
        x[j] = p[0]; y[j] = p[1]; z[j] = p[2];
    }
    best = max_distance * max_distance;
    best_v = 0.0f; best_w = 0.0f;
    best_face = -1;
    // Boxes still to visit, each with its distances. Warp's own queries have room for 32.
    int waiting[64];
    Lanes gap[64];
    int depth = 1;
    waiting[0] = *tree.root;
    gap[0] = 0.0f;
    while (depth) {
        const int node = waiting[--depth];
        if (!__builtin_reduce_or(gap[depth] < best)) continue;
        const wp::BVHPackedNodeHalf low = tree.node_lowers[node], high = tree.node_uppers[node];
        if (low.b) {
            for (int k = low.i; k < (int)high.i; ++k) test_triangle(tree.primitive_indices[k]);
            continue;
        }
        int near = low.i, far = high.i;
        Lanes to_near = box_distance(near), to_far = box_distance(far);
        if (__builtin_reduce_min(to_far) < __builtin_reduce_min(to_near)) {
            const int node = far; far = near; near = node;
            const Lanes distance = to_far; to_far = to_near; to_near = distance;
        }
        if (depth < 63) { waiting[depth] = far; gap[depth++] = to_far; }
        waiting[depth] = near; gap[depth++] = to_near;
    }
"""
"""Shared by both snippets: leaves the packet's squared distances, barycentrics and faces (-1 for none) in `best...`."""

POINTS = """
    for (int j = 0; j < count; ++j) {
        const int i = start + j;
        const bool found = best_face[j] >= 0;
        face.data[i] = best_face[j];
        distance.data[i] = found ? wp::sqrt(best[j]) : INFINITY;
        barycentrics.data[i] = wp::vec3(found ? 1.0f - best_v[j] - best_w[j] : 0.0f, best_v[j], best_w[j]);
    }
"""

SPREAD = """
    for (int j = 0; j < count; ++j) {
        wp::vec3 value(0.0f, 0.0f, 0.0f);
        if (best_face[j] >= 0) {
            const int* corner = body.indices.data + 3ll * best_face[j];
            const float away = wp::sqrt(best[j]);
            float t = (away / max_distance - FADE_START) * (1.0f / (1.0f - FADE_START));
            t = t > 0.0f ? (t < 1.0f ? t : 1.0f) : 0.0f;
            const float weight = wp::exp(-away / fade) * (1.0f - t * t * (3.0f - 2.0f * t));
            value = weight * ((1.0f - best_v[j] - best_w[j]) * values.data[corner[0]]
                              + best_v[j] * values.data[corner[1]] + best_w[j] * values.data[corner[2]]);
        }
        wp::half* row = output.data + 3ll * where.data[start + j];
        for (int axis = 0; axis < 3; ++axis) row[axis] = wp::half(value[axis]);
    }
"""


def _source(code: str) -> str:
    return f"enum {{ LANES = {LANES} }};\nconst float FADE_START = {FADE_START}f;\n" + CLOSEST + code


@wp.func_native(_source(POINTS))
def closest_packet(
    mesh: wp.uint64,
    max_distance: float,
    points: wp.array(dtype=wp.vec3),
    start: int,
    count: int,
    face: wp.array(dtype=wp.int32),
    distance: wp.array(dtype=float),
    barycentrics: wp.array(dtype=wp.vec3),
): ...


@wp.func_native(_source(SPREAD))
def spread_packet(
    mesh: wp.uint64,
    max_distance: float,
    points: wp.array(dtype=wp.vec3),
    start: int,
    count: int,
    values: wp.array(dtype=wp.vec3),
    fade: float,
    where: wp.array(dtype=wp.int32),
    output: wp.array(dtype=wp.float16),
): ...


@wp.kernel(enable_backward=False)
def closest_points_kernel(
    first: int,
    mesh: wp.uint64,
    max_distance: float,
    points: wp.array(dtype=wp.vec3),
    face: wp.array(dtype=wp.int32),
    distance: wp.array(dtype=float),
    barycentrics: wp.array(dtype=wp.vec3),
):
    start = (first + wp.tid()) * PACKET
    count = wp.min(PACKET, points.shape[0] - start)
    closest_packet(mesh, max_distance, points, start, count, face, distance, barycentrics)


@wp.kernel(enable_backward=False)
def spread_kernel(
    first: int,
    mesh: wp.uint64,
    max_distance: float,
    points: wp.array(dtype=wp.vec3),
    values: wp.array(dtype=wp.vec3),
    fade: float,
    where: wp.array(dtype=wp.int32),
    output: wp.array(dtype=wp.float16),
):
    start = (first + wp.tid()) * PACKET
    count = wp.min(PACKET, points.shape[0] - start)
    spread_packet(mesh, max_distance, points, start, count, values, fade, where, output)
