// First pass: what lies at each pixel of a person. The clothes' edges are cut here; colours follow in shade.frag.
in vec3 v_normal;
in vec3 v_rest;
in vec4 v_surface;
in float v_limb;
flat in int v_layer;
uniform float slot; // number of the person in this image
layout(location = 0) out vec4 normal_and_layer;
layout(location = 1) out vec4 rest_and_depth;
layout(location = 2) out vec4 surface;

bool cut_away(int material) {
    vec4 limits = row(3, v_layer), front = row(4, v_layer);
    float h = v_surface.z, along = v_surface.w, x = abs(v_rest.x);
    bool arm = v_limb > 0.5, leg = v_limb < -0.5, before = v_surface.y > 0.0;
    if (material == HAIR) {
        // Hair ends in strands, and begins at the hairline.
        vec2 ragged = noise_pair(v_rest * 70.0) - 0.5;
        return v_rest.y < limits.x + 0.05 * ragged.x || along < limits.z + 0.02 * ragged.y;
    }
    if (material == SHOE) return along < front.w;
    if (material != CLOTH) return false;
    bool outside = (h < limits.x && !arm && !leg) || (h > limits.y && !arm) || (arm && along > limits.z)
        || (leg && (along > limits.w || limits.x > 0.0));
    float gap = mix(front.z, front.w, clamp((h - limits.x) / max(0.52 - limits.x, 0.05), 0.0, 1.0));
    bool opened = gap > 0.0 && before && !arm && x < gap;
    float neck = 0.575 - (before ? front.x : 0.02) * (1.0 - x / max(front.y, 0.01));
    return outside || opened || (!arm && x < front.y && h > max(neck, 0.4));
}

void main() {
    if (cut_away(int(row(0, v_layer).w + 0.5))) discard;
    normal_and_layer = vec4(gl_FrontFacing ? v_normal : -v_normal, float(v_layer) + 64.0 * slot);
    rest_and_depth = vec4(v_rest, 1.0 / gl_FragCoord.w);
    surface = vec4(atan(v_surface.x, v_surface.y), v_surface.zw, v_limb);
}
