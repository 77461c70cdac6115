# SPDX-License-Identifier: Apache-2.0
# A command's --help, manual page and bash completion, made from one text by manual.awk.
find_program(GQA_AWK awk)
mark_as_advanced(GQA_AWK)

# Adds the help to the target and makes the pages, in the build's share as when installed.
function(gqa_manual target command text prefix)
    set(awk ${PROJECT_SOURCE_DIR}/cmake/manual.awk)
    get_filename_component(text ${text} ABSOLUTE)
    set(help ${CMAKE_CURRENT_BINARY_DIR}/${command}_manual.c)
    set(page ${PROJECT_BINARY_DIR}/share/man/man1/${command}.1)
    set(completion ${PROJECT_BINARY_DIR}/share/bash-completion/completions/${command})
    file(MAKE_DIRECTORY ${PROJECT_BINARY_DIR}/share/man/man1
        ${PROJECT_BINARY_DIR}/share/bash-completion/completions)
    set(make ${GQA_AWK} -v command=${command} -v prefix=${prefix} -v version=${PROJECT_VERSION})
    add_custom_command(OUTPUT ${help} ${page} ${completion}
        COMMAND ${make} -v make=c -f ${awk} ${text} > ${help}
        COMMAND ${make} -v make=man -f ${awk} ${text} > ${page}
        COMMAND ${make} -v make=completion -f ${awk} ${text} > ${completion}
        DEPENDS ${awk} ${text} VERBATIM)
    target_sources(${target} PRIVATE ${help})
    if(GQA_INSTALL)
        install(FILES ${page} DESTINATION ${CMAKE_INSTALL_MANDIR}/man1 COMPONENT gqa_tools)
        install(FILES ${completion} COMPONENT gqa_tools
            DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions)
    endif()
endfunction()

# A command in the prefix. It finds a shared library from where it lies.
function(gqa_install_command target)
    if(NOT GQA_INSTALL)
        return()
    endif()
    if(NOT IS_ABSOLUTE ${CMAKE_INSTALL_LIBDIR} AND UNIX AND NOT APPLE)
        file(RELATIVE_PATH libraries
            /prefix/${CMAKE_INSTALL_BINDIR} /prefix/${CMAKE_INSTALL_LIBDIR})
        set_target_properties(${target} PROPERTIES INSTALL_RPATH "$ORIGIN/${libraries}")
    endif()
    install(TARGETS ${target} RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR} COMPONENT gqa_tools)
endfunction()
