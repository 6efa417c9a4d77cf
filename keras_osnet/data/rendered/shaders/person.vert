in vec3 position;
in vec3 normal;
in vec3 rest;
in vec4 surface;
in float limb;
in float layer;
in uvec4 bones;
in vec4 weights;
layout(std140) uniform Bones { mat4 matrices[24]; };
uniform mat4 placed;
out vec3 v_normal;
out vec3 v_rest;
out vec4 v_surface;
out float v_limb;
flat out int v_layer;

void main() {
    mat4 skin = matrices[bones.x] * weights.x + matrices[bones.y] * weights.y + matrices[bones.z] * weights.z
        + matrices[bones.w] * weights.w;
    vec4 world = placed * (skin * vec4(position, 1.0));
    v_normal = mat3(placed) * (mat3(skin) * normal);
    v_rest = rest;
    v_surface = surface;
    v_limb = limb;
    v_layer = int(layer + 0.5);
    gl_Position = view_projection * world;
}
