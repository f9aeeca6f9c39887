// nanobind's own code, compiled with ours: a build may only name sources inside the project.
#include <nb_combined.cpp>
