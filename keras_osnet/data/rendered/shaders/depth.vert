in vec3 position;
in uvec4 bones;
in vec4 weights;
layout(std140) uniform Bones { mat4 matrices[24]; };
uniform mat4 placed;

void main() {
    mat4 skin = matrices[bones.x] * weights.x + matrices[bones.y] * weights.y + matrices[bones.z] * weights.z
        + matrices[bones.w] * weights.w;
    gl_Position = light_matrix * (placed * (skin * vec4(position, 1.0)));
}
