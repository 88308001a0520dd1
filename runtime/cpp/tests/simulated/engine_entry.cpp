// Checks whether engines fit a machine, for the comparison with Python. Reads lines of LIBRARY,
// VERSION, COMPUTE CAPABILITY and ENTRY, separated by tabs; writes why the engine does not fit, or
// "fits".
#include "gpu/engine_entry.hpp"

#include <iostream>
#include <string>

#include "hcflow/hcflow.hpp"

int main() {
    for (std::string library, version, capability, sidecar;
         std::getline(std::cin, library, '\t') && std::getline(std::cin, version, '\t') &&
         std::getline(std::cin, capability, '\t') && std::getline(std::cin, sidecar);) {
        try {
            const hcflow::gpu::EngineEntry engine = hcflow::gpu::parse_engine_entry(sidecar, "it");
            std::cout
                << hcflow::gpu::misfit(engine, {library, version, capability}).value_or("fits")
                << '\n';
        } catch (const hcflow::Error&) {
            std::cout << "not an entry\n";
        }
    }
}
