# SPDX-License-Identifier: Apache-2.0
# What `cmake --install` brings: headers, libraries, find_package(gqa) and gqa.pc, all of which may
# be moved together. Commands and their pages are installed where they are built.

install(DIRECTORY include/gqa DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} COMPONENT gqa_devel)
install(TARGETS ${_libraries} EXPORT gqaTargets
    RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR} COMPONENT gqa_runtime
    LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT gqa_runtime
        NAMELINK_COMPONENT gqa_devel
    ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT gqa_devel)

# --- find_package --------------------------------------------------------------------------------

include(CMakePackageConfigHelpers)
set(_package ${CMAKE_INSTALL_LIBDIR}/cmake/gqa)
set(_generated ${PROJECT_BINARY_DIR}/package)
install(EXPORT gqaTargets NAMESPACE gqa:: DESTINATION ${_package} COMPONENT gqa_devel)
configure_package_config_file(cmake/gqa-config.cmake.in ${_generated}/gqa-config.cmake
    INSTALL_DESTINATION ${_package} NO_SET_AND_CHECK_MACRO)
# Below 1.0 a new minor version may break what was there.
set(_compatible SameMajorVersion)
if(PROJECT_VERSION_MAJOR EQUAL 0)
    set(_compatible SameMinorVersion)
endif()
write_basic_package_version_file(${_generated}/gqa-config-version.cmake
    COMPATIBILITY ${_compatible})
install(FILES ${_generated}/gqa-config.cmake ${_generated}/gqa-config-version.cmake
    DESTINATION ${_package} COMPONENT gqa_devel)

# --- pkg-config ----------------------------------------------------------------------------------

# Paths below the prefix are said from where gqa.pc lies; absolute ones as they are.
set(_pc_prefix ${CMAKE_INSTALL_PREFIX})
if(NOT IS_ABSOLUTE ${CMAKE_INSTALL_LIBDIR})
    file(RELATIVE_PATH _up /prefix/${CMAKE_INSTALL_LIBDIR}/pkgconfig /prefix)
    string(REGEX REPLACE "/$" "" _up "${_up}")
    set(_pc_prefix "\${pcfiledir}/${_up}")
endif()
foreach(_what LIBDIR INCLUDEDIR)
    if(IS_ABSOLUTE ${CMAKE_INSTALL_${_what}})
        set(_pc_${_what} ${CMAKE_INSTALL_${_what}})
    else()
        set(_pc_${_what} "\${prefix}/${CMAKE_INSTALL_${_what}}")
    endif()
endforeach()
# An archive needs from its user what a shared library brings along.
set(_pc_private ${CMAKE_THREAD_LIBS_INIT})
if(GQA_WITH_OPENBLAS)
    list(PREPEND _pc_private ${GQA_OPENBLAS_LDFLAGS})
endif()
if(UNIX)
    list(APPEND _pc_private -lm)
endif()
list(JOIN _pc_private " " _pc_private)
set(_pc_libs "-L\${libdir} -lgqa")
if(NOT TARGET gqa_shared)
    string(APPEND _pc_libs " ${_pc_private}")
    set(_pc_private "")
endif()
configure_file(cmake/gqa.pc.in ${_generated}/gqa.pc @ONLY)
install(FILES ${_generated}/gqa.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig
    COMPONENT gqa_devel)
